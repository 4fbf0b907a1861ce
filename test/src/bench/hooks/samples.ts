// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { hooksTable, samplesIn, waysOf } from '../../../../src/bench/hooks/samples.ts';

const line = (
  way: string,
  micros: number,
  programs: Readonly<Record<string, readonly [number, number]>>,
): string =>
  JSON.stringify({
    ...{ way, family: 'IPv4', connections: 10, micros, clockNs: 50 },
    programs: Object.fromEntries(
      Object.entries(programs).map(([name, [runs, ns]]) => [name, { runs, ns }]),
    ),
  });

const printed = [
  line('captured', 900, { weft_connect4: [10, 10_000], weft_sockops: [130, 26_000] }),
  line('no pod', 500, { weft_connect4: [10, 2_000] }),
  line('captured', 1100, { weft_connect4: [10, 12_000], weft_sockops: [130, 26_000] }),
  line('captured', 1000, { weft_connect4: [10, 11_000], weft_sockops: [134, 26_800] }),
].join('\n');

t.test('figures are for one connection, and the clock is taken off', async (t) => {
  const [captured, noPod, ...more] = waysOf(samplesIn(printed));
  t.equal(more.length, 0);
  t.match(captured, { way: 'captured', family: 'IPv4', micros: { n: 3, median: 100 } });
  t.match(captured?.programs[0], {
    program: 'weft_connect4',
    runs: { median: 1 },
    ns: { median: 1100, min: 1000, max: 1200 },
  });
  t.match(captured?.programs[1], { runs: { median: 13, max: 13.4 }, ns: { median: 200 } });
  // 1000 + 13 x 200 - 14 x 50 in the first round.
  t.match(captured?.ns, { min: 2900, median: 3060, max: 3100 });
  t.match(noPod, { way: 'no pod', ns: { n: 1, median: 150 } });
});

t.test('the table has a column for each hook, whatever the family', async (t) => {
  t.equal(
    hooksTable(waysOf(samplesIn(printed))),
    `| way | \`connect\` | \`sockops\` | the clock | hooks, together | all of it |
| --- | --- | --- | --- | --- | --- |
| captured, IPv4 | 1 x 1100 | 13 x 200 | 50 ns | 3060 ns (2900..3100) | 100.0 us |
| no pod, IPv4 | 1 x 200 |  | 50 ns | 150 ns (150..150) | 50.0 us |
`,
  );
});

t.test('both families of one hook share its column', async (t) => {
  const both = { weft_getpeername4: [10, 1_000], weft_getpeername6: [30, 1_000] } as const;
  const text = line('captured', 500, both);
  t.match(hooksTable(waysOf(samplesIn(text))), /\| captured, IPv4 \| 4 x 50 \|/);
});

t.test('what is no sample is refused', async (t) => {
  for (const wrong of ['', 'weft', '{"way": "captured"}', `${printed}\n{}`]) {
    t.throws(() => samplesIn(wrong), { code: 'invalid' }, wrong);
  }
});
