// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import {
  columns,
  goalsTable,
  notRunTable,
  proofTable,
  ratiosTable,
  syscallTable,
  tableOf,
} from '../../../src/bench/table.ts';

const spread = { n: 3, median: 1234.5, min: 0.123456, max: 2000 };

t.test('puts cells into columns', async (t) => {
  t.equal(columns(['a', 'b'], [['xx', 'y']]), 'a   b\nxx  y\n');
});

const rate = { workload: 'up1', figure: 'rate', unit: 'Gbit/s', spread, rounds: {}, ratios: {} };
const rows = [
  { ...rate, variant: 'bare', disturbed: 0 },
  {
    ...rate,
    variant: 'weft',
    disturbed: 2,
    failures: 3,
    ratios: { bare: spread, haproxy: spread },
  },
];

t.test('a column for each variant, with what was disturbed and what was not run', async (t) => {
  const notRun = [{ variant: 'envoy-l7', workload: 'up1', why: 'it reads HTTP' }];
  const table = tableOf(rows, ['bare', 'weft', 'envoy-l7', 'haproxy'], notRun);
  const [head, first, ...more] = table.split('\n');
  t.match(head, /^workload +figure +unit +bare +weft +envoy-l7 +haproxy$/);
  const cells = String.raw`1235 \(0\.123\.\.2000\)`;
  t.match(first, new RegExp(`^up1 +rate +Gbit/s +${cells} +${cells} \\* 3 failed +not run$`));
  t.strictSame(more, ['']);
});

t.test('ratios of one variant to whom there are ratios to', async (t) => {
  const [head, first, ...more] = ratiosTable(rows, 'weft').split('\n');
  t.match(head, /^weft, as a ratio to +bare +haproxy$/);
  t.match(first, /^up1 +rate +1235 \(0\.123\.\.2000\) +1235 \(0\.123\.\.2000\)$/);
  t.strictSame(more, ['']);
});

t.test('each reason why something was not run is told once', async (t) => {
  const why = 'it reads HTTP';
  const text = notRunTable([
    { variant: 'envoy-l7', workload: 'up1', why },
    { variant: 'envoy-l7', workload: 'rtt64', why },
    { variant: 'haproxy', why: 'it is not installed' },
  ]);
  const lines = [
    'not run: up1, rtt64 of envoy-l7: it reads HTTP',
    'not run: everything of haproxy: it is not installed',
    '',
  ];
  t.equal(text, lines.join('\n'));
});

t.test('marks a goal that was missed', async (t) => {
  const goal = { variant: 'weft', workload: 'up1', figure: 'rate', to: 'bare', spread };
  const table = goalsTable([
    { ...goal, atLeast: 1.1, ok: false },
    { ...goal, atMost: 1.1, ok: true },
  ]);
  const reached = '1235 \\(0\\.123\\.\\.2000\\)';
  t.match(table, new RegExp(`^MISSED +weft +up1 +rate +bare +at least 1\\.1 +${reached}$`, 'm'));
  t.match(table, new RegExp(`^ok +weft +up1 +rate +bare +at most 1\\.1 +${reached}$`, 'm'));
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
