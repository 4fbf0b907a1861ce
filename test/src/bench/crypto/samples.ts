// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { cryptoTable, figuresOf, samplesIn } from '../../../../src/bench/crypto/samples.ts';

const line = (row: string, lanes: number, calls: number, ns: number): string =>
  JSON.stringify({ operation: 'ECDSA verify', row, lanes, calls, ns });

const printed = [
  line('portable', 8, 10, 4_000_000),
  line('avx512', 1, 10, 1_000_000),
  line('avx512', 8, 10, 1_000_000),
  line('portable', 8, 10, 4_800_000),
  line('avx512', 1, 10, 1_500_000),
  line('avx512', 8, 10, 1_600_000),
].join('\n');

t.test('a call of eight is compared with eight of the same round, one by one', async (t) => {
  const [verify, ...more] = figuresOf(samplesIn(printed));
  t.equal(more.length, 0);
  t.match(verify?.portable, { n: 2, min: 50, max: 60 });
  t.match(verify?.batches, [
    { lanes: 1, micros: { min: 100, max: 150 }, ratio: { min: 0.4, max: 0.5 } },
    { lanes: 8, micros: { min: 100, max: 160 }, ratio: { min: 3, max: 4 } },
  ]);
});

t.test('the table has a column for each filling', async (t) => {
  t.equal(
    cryptoTable(figuresOf(samplesIn(printed))),
    `| operation | one by one | 1 lanes | 8 lanes |
| --- | --- | --- | --- |
| ECDSA verify | 55.00 us (50.00..60.00) | 125.00 us, x0.45 | 130.00 us, x3.50 |
`,
  );
});

t.test('without the wide row the table has one column', async (t) => {
  const alone = figuresOf(samplesIn(line('portable', 8, 10, 4_000_000)));
  t.match(cryptoTable(alone), /^\| operation \| one by one \|\n/);
});

t.test('what is no sample is refused', async (t) => {
  for (const wrong of ['', 'weft', '{"operation": "x"}', `${printed}\n{}`, line('wide', 1, 1, 1)]) {
    t.throws(() => samplesIn(wrong), { code: 'invalid' }, wrong);
  }
});
