// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { compare, signTest } from '../../../../src/bench/report/compare.ts';
import { type Result, readResults, saveResults } from '../../../../src/bench/results.ts';

t.test('the sign test gives the probability of a coin', async (t) => {
  t.equal(signTest(0, 0), 1);
  t.equal(signTest(1, 1), 1);
  t.equal(signTest(5, 0), 2 / 32);
  t.equal(signTest(0, 5), 2 / 32);
  t.equal(signTest(9, 1), (2 * (1 + 10)) / 1024);
});

function result(variant: string, values: readonly number[]): Result {
  const rounds = Object.fromEntries(values.map((value, at) => [String(at + 1), value]));
  const spread = { n: values.length, median: values[0] ?? 0, min: 0, max: 0 };
  const names = { variant, workload: 'http64', metric: 'rate', unit: 'requests/s' };
  return { ...names, ...spread, disturbed: 0, ratios: {}, rounds };
}

async function fileOf(folder: string, topic: string, results: readonly Result[]) {
  const body = { rounds: 5, seconds: 1, variants: [], results, notRun: [] };
  return readResults(await saveResults(folder, body, topic));
}

t.test('a regression shows, and a slower day does not', async (t) => {
  const folder = t.testdir();
  const before = await fileOf(folder, 'before', [
    result('bare', [100, 100, 100, 100, 100]),
    result('weft', [50, 50, 50, 50, 50]),
    result('haproxy', [30, 30, 30, 30, 30]),
  ]);
  // All is a tenth slower, and only one of them more than that.
  const after = await fileOf(folder, 'after', [
    result('bare', [90, 90, 90, 90, 90]),
    result('weft', [44, 43, 42, 44, 44]),
    result('haproxy', [27, 28, 26, 28, 26]),
    result('newcomer', [1, 1, 1, 1, 1]),
  ]);
  const changes = compare(before, after);
  t.match(changes[0], { variant: 'bare', rose: 0, fell: 5 });
  t.match(
    changes.find(({ variant }) => variant === 'weft'),
    { rose: 0, fell: 5, probability: 2 / 32, before: 50, after: 44 },
  );
  t.ok(Number(changes.find(({ variant }) => variant === 'haproxy')?.probability) > 0.5);
  t.equal(changes.length, 3, 'what only one file has is not compared');
});
