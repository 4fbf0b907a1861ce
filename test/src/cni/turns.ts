// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { Turns } from '../../../src/cni/turns.ts';

t.test('one key goes in order, also after a failure, and another does not wait', async (t) => {
  const turns = new Turns();
  const done: string[] = [];
  const gate = Promise.withResolvers<void>();
  const first = turns.take('a', async () => {
    await gate.promise;
    done.push('a1');
    throw new Error('a1 failed');
  });
  const second = turns.take('a', async () => void done.push('a2'));
  await turns.take('b', async () => void done.push('b1'));
  gate.resolve();
  await t.rejects(first, { message: 'a1 failed' });
  await second;
  t.same(done, ['b1', 'a1', 'a2']);
});
