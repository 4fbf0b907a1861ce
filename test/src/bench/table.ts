// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import {
  columns,
  goalsTable,
  proofTable,
  syscallTable,
  tableOf,
} from '../../../src/bench/table.ts';

const spread = { n: 3, median: 1234.5, min: 0.123456, max: 2000 };

t.test('puts cells into columns', async (t) => {
  t.equal(columns(['a', 'b'], [['xx', 'y']]), 'a   b\nxx  y\n');
});

t.test('shows median, range and ratios, and says what was disturbed', async (t) => {
  const base = { workload: 'up1', figure: 'rate', unit: 'Gbit/s', variant: 'weft', spread };
  const rows = [
    { ...base, rounds: {}, ratios: { bare: spread }, disturbed: 0 },
    { ...base, rounds: {}, ratios: {}, disturbed: 2 },
  ];
  const notRun = [{ variant: 'haproxy', why: 'it is not installed' }];
  const [head, first, second, third] = tableOf(rows, notRun).split('\n');
  t.match(head, /unit +to bare$/);
  t.match(first, /1235 \(0\.123\.\.2000\) +Gbit\/s +1235/);
  t.match(second, /disturbed: 2 of 3$/);
  t.match(third, /^all +haproxy +not run: it is not installed$/);
});

t.test('marks a goal that was missed', async (t) => {
  const goal = { workload: 'up1', figure: 'rate', reached: 1 };
  const table = goalsTable([
    { ...goal, atLeast: 1.1, ok: false },
    { ...goal, atMost: 1.1, ok: true },
  ]);
  t.match(table, /^MISSED +up1 +rate +at least 1\.1 +1\.00$/m);
  t.match(table, /^ok +up1 +rate +at most 1\.1 +1\.00$/m);
});

t.test('says which proxy is at the minimum of calls', async (t) => {
  const row = { variant: 'weft', node: 'node-a', waits: 2, reads: 2, writes: 2, others: 0.01 };
  const table = syscallTable([row, { ...row, variant: 'envoy', waits: 4.05 }]);
  t.match(table, /^weft +node-a +2\.00 +2\.00 +2\.00 +0\.01 +minimal$/m);
  t.match(table, /^envoy +node-a +4\.05 +2\.00 +2\.00 +0\.01$/m);
});

t.test('shows what was seen of each variant', async (t) => {
  const table = proofTable([
    { variant: 'bare', requests: 4, readable: 4 },
    { variant: 'weft', requests: 4, readable: 0, tls: 'TLSv1.3', peer: 'spiffe://a/ns/b/sa/c' },
  ]);
  t.match(table, /^bare +4 of 4 +none$/m);
  t.match(table, /^weft +0 of 4 +TLSv1\.3 +spiffe:\/\/a\/ns\/b\/sa\/c$/m);
});
