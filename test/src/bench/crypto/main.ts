// SPDX-License-Identifier: Apache-2.0
// The real process; what it builds and runs is stood in for.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { runProgram } from '../../../../src/lib/program.ts';
import { standInForNativeBench } from '../../../support/native-bench.ts';

const root = join(import.meta.dirname, '../../../..');
const sample = { operation: 'ECDSA verify', lanes: 8, calls: 10 };
const printed = [
  JSON.stringify({ ...sample, row: 'portable', ns: 4_000_000 }),
  JSON.stringify({ ...sample, row: 'avx512', ns: 1_000_000 }),
  '',
].join('\n');

async function bench(t: Test, lines: string, args: readonly string[]) {
  const folder = t.testdir({ results: {} });
  const results = join(folder, 'results');
  const native = standInForNativeBench(folder, lines);
  const main = join(root, 'src/bench/crypto/main.ts');
  const command = [`PATH=${native.path}`, process.execPath, main, '--results', results];
  const ended = await runProgram('env', [...command, ...args], { timeoutMs: 60_000 });
  return { ...ended, started: native.started(), results };
}

t.test('the program is built, run on the core that is asked for, and read', async (t) => {
  const { code, stdout, stderr, started, results } = await bench(t, printed, [
    ...['--rounds', '3', '--core', '1'],
  ]);
  t.equal(code, 0, stderr);
  t.same(started, [
    `cmake --build ${join(root, 'build')} --target bench_crypto`,
    `taskset -c 1 ${join(root, 'build/native/bench_crypto')} 3`,
  ]);
  t.match(stdout, /^\| operation \| one by one \| 8 lanes \|\n/);
  t.match(stdout, /\| ECDSA verify \| 50\.00 us .* x4\.00 \|\n$/);
  const [file = ''] = readdirSync(results);
  t.match(file, /crypto/);
  t.match(stderr, file);
  t.match(JSON.parse(readFileSync(join(results, file), 'utf8')), {
    rounds: 3,
    figures: [{ operation: 'ECDSA verify' }],
    samples: [{ row: 'portable' }, { row: 'avx512' }],
  });
});

t.test('as JSON it prints figures alone, for whoever reads them', async (t) => {
  const { code, stdout } = await bench(t, printed, ['-o', 'json']);
  t.equal(code, 0);
  const { figures, ...more } = JSON.parse(stdout);
  t.match(figures, [{ operation: 'ECDSA verify', batches: [{ lanes: 8 }] }]);
  t.same(more, { rounds: 15 });
});

t.test('what is no sample is refused, and nothing kept', async (t) => {
  const { code, stderr, results } = await bench(t, 'no sample\n', []);
  t.not(code, 0);
  t.match(stderr, /bench_crypto printed no samples/);
  t.same(readdirSync(results), []);
});

t.test('flags out of bounds are refused before anything is built', async (t) => {
  const { code, stderr, started } = await bench(t, printed, ['--rounds', '0']);
  t.not(code, 0);
  t.match(stderr, /0 is not a whole number from 1 to 1000/);
  t.same(started, ['']);
});
