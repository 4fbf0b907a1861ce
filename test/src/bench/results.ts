// SPDX-License-Identifier: Apache-2.0
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { readResults, resultsOf, saveResults, slugOf } from '../../../src/bench/results.ts';

t.test('names a machine so that it can be part of a file name', async (t) => {
  t.equal(slugOf('AMD EPYC'), 'amd-epyc');
  t.equal(slugOf('Intel(R) Xeon(R) CPU @ 2.60GHz '), 'intel-r-xeon-r-cpu-2-60ghz');
});

const spread = { n: 2, median: 3, min: 2, max: 4 };
const [result] = resultsOf([
  {
    ...{ workload: 'rtt64', figure: 'p50', unit: 'us', variant: 'weft', spread, disturbed: 1 },
    failures: 2,
    ...{ rounds: { 1: 2, 2: 4 }, ratios: { bare: spread, haproxy: spread } },
  },
]);

t.test('a row becomes an object of figures', async (t) => {
  t.strictSame(result, {
    ...{ variant: 'weft', workload: 'rtt64', metric: 'p50', unit: 'us', ...spread, disturbed: 1 },
    failures: 2,
    ...{ ratioToBare: spread, ratios: { haproxy: spread }, rounds: { 1: 2, 2: 4 } },
  });
});

t.test('keeps what was measured with the machine and the date, and reads it back', async (t) => {
  const folder = join(t.testdir(), 'results');
  const variants = [{ name: 'weft', title: 'the mesh' }];
  const body = { rounds: 2, seconds: 1, variants, results: [result], notRun: [], samples: [1] };
  const file = await saveResults(folder, body, 'quick');
  t.match(file, /\/results\/\d{4}-\d\d-\d\d-[a-z0-9-]+-quick\.json$/);
  const kept = readResults(file);
  t.match(kept, {
    rounds: 2,
    machine: { kernel: /^\d/ },
    cpuFlags: Array,
    versions: { node: process.version, weft: /^\d/ },
  });
  t.strictSame(kept.results, [result]);
  t.strictSame(JSON.parse(readFileSync(file, 'utf8')).samples, [1]);
});

t.test('reads verdicts, and files that had them in another shape', async (t) => {
  const folder = t.testdir();
  const goal = { variant: 'weft', workload: 'rtt64', figure: 'p50', to: 'bare', atMost: 1 };
  const verdicts = [{ ...goal, spread, ok: false }];
  const body = { rounds: 2, seconds: 1, variants: [], results: [], notRun: [] };
  const now = await saveResults(folder, { ...body, verdicts }, 'now');
  t.strictSame(readResults(now).verdicts, verdicts);
  const before = [{ workload: 'rtt64', figure: 'added p50', atMost: 0.6, reached: 1, ok: false }];
  const old = await saveResults(folder, { ...body, verdicts: before }, 'old');
  t.strictSame(readResults(old).verdicts, []);
});

t.test('a second run of a day is written beside the first', async (t) => {
  const folder = t.testdir();
  const files: string[] = [];
  for (const round of [1, 2, 3]) {
    files.push(await saveResults(folder, { round }, 'quick'));
  }
  const kept = files.map((file) => JSON.parse(readFileSync(file, 'utf8')).round);
  t.strictSame(kept, [1, 2, 3]);
  t.match(files[1], /-quick-2\.json$/);
  t.match(files[2], /-quick-3\.json$/);
  await t.rejects(saveResults(join(folder, 'a\0b'), {}, 'quick'));
});

t.test('says what is wrong with a file that is none', async (t) => {
  const folder = t.testdir();
  const [none, other] = [join(folder, 'none'), join(folder, 'other')];
  t.throws(() => readResults(none), { code: 'invalid', message: /none cannot be read as JSON/ });
  writeFileSync(other, '{"format":2}');
  t.throws(() => readResults(other), { code: 'invalid', message: /no file of results: format/ });
});
