// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { loadAverage, shuffled } from '../../../src/bench/rounds.ts';

t.test('an order of its own each time keeps every variant', async (t) => {
  const all = ['bare', 'weft', 'envoy'];
  const first = new Set<string>();
  for (let n = 0; n < 200; n++) {
    const order = shuffled(all);
    t.strictSame([...order].sort(), [...all].sort());
    first.add(order[0] ?? '');
  }
  t.equal(first.size, 3, 'each of them comes first at some time');
  t.strictSame(all, ['bare', 'weft', 'envoy'], 'the list itself stays');
});

t.test('reads the load of the machine', async (t) => {
  t.ok(loadAverage() >= 0);
});
