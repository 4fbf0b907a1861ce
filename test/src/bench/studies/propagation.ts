// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { checkSince, entryFiles, lastOutcome } from '../../../../src/bench/studies/propagation.ts';

t.test('the last whole line of a probe counts', async (t) => {
  t.strictSame(lastOutcome('100 answered\n200 refused\n30'), { atNs: 200n, outcome: 'refused' });
  t.throws(() => lastOutcome('100 answ'), { code: 'unavailable' });
});

t.test('what was seen before the change is no answer to it', async (t) => {
  t.equal(checkSince(200n, 200n), 200n);
  t.throws(() => checkSince(199n, 200n), { code: 'invalid' });
});

t.test('every workload that only exists has an address of its own', async (t) => {
  const text = Object.values(entryFiles(10_000)).join('');
  const addresses = [...text.matchAll(/address: (.*)/g)].map(([, address]) => address);
  t.equal(new Set(addresses).size, 10_000);
});
