// SPDX-License-Identifier: Apache-2.0
// The real process; what it builds and runs is stood in for.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { runProgram } from '../../../../src/lib/program.ts';
import { standInForNativeBench } from '../../../support/native-bench.ts';

const root = join(import.meta.dirname, '../../../..');
const printed = `${JSON.stringify({
  ...{ way: 'captured', family: 'IPv4', connections: 10, micros: 900, clockNs: 50 },
  programs: { weft_connect4: { runs: 10, ns: 10_000 } },
})}\n`;

async function bench(t: Test, args: readonly string[]) {
  const folder = t.testdir({ results: {} });
  const results = join(folder, 'results');
  const native = standInForNativeBench(folder, printed);
  const main = join(root, 'src/bench/hooks/main.ts');
  const command = [`PATH=${native.path}`, process.execPath, main, '--results', results];
  const ended = await runProgram('env', [...command, ...args], { timeoutMs: 60_000 });
  return { ...ended, started: native.started(), results };
}

t.test('the program is built, run on the core that is asked for, and read', async (t) => {
  const flags = ['--rounds', '3', '--connections', '7', '--core', '1'];
  const { code, stdout, stderr, started, results } = await bench(t, flags);
  t.equal(code, 0, stderr);
  t.same(started, [
    `cmake --build ${join(root, 'build')} --target bench_hooks`,
    `taskset -c 1 ${join(root, 'build/native/bench_hooks')} 3 7`,
  ]);
  t.match(stdout, /^\| way \| `connect` \|/);
  t.match(stdout, /\n\| captured, IPv4 \|/);
  const [file = ''] = readdirSync(results);
  t.match(stderr, file);
  t.match(JSON.parse(readFileSync(join(results, file), 'utf8')), {
    ...{ rounds: 3, connections: 7 },
    ways: [{ way: 'captured' }],
    samples: [{ way: 'captured' }],
  });
});

t.test('flags out of bounds are refused before anything is built', async (t) => {
  const { code, stderr, started } = await bench(t, ['--connections', '10001']);
  t.not(code, 0);
  t.match(stderr, /10001 is not a whole number from 1 to 10000/);
  t.same(started, ['']);
});
