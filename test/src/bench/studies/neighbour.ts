// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { both } from '../../../../src/bench/studies/neighbour.ts';

t.test('answers what both resolve with', async (t) => {
  t.strictSame(await both(Promise.resolve(1), Promise.resolve('b')), [1, 'b']);
});

t.test('a failure waits until the other has ended', async (t) => {
  const noise = Promise.withResolvers<string>();
  const order: string[] = [];
  const rejected = both(Promise.reject(new Error('no figure')), noise.promise).catch((error) => {
    order.push(error.message);
  });
  await new Promise(setImmediate);
  order.push('noise ends');
  noise.resolve('');
  await rejected;
  t.strictSame(order, ['noise ends', 'no figure']);
});

t.test('two failures are one', async (t) => {
  const failures = [Promise.reject(new Error('a')), Promise.reject(new Error('b'))] as const;
  await t.rejects(both(...failures), { message: 'a' });
});
