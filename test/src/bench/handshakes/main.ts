// SPDX-License-Identifier: Apache-2.0
// The real process; what it builds and runs is stood in for.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { runProgram } from '../../../../src/lib/program.ts';
import { standInForNativeBench } from '../../../support/native-bench.ts';

const root = join(import.meta.dirname, '../../../..');
const sample = (mode: string, micros: number): string => {
  const times = { micros, p50Micros: micros, p99Micros: micros };
  const way = { leaves: 'verified', atOnce: 8, mode, round: 0 };
  return `${JSON.stringify({ ...way, ...times, lanesFilled: 8, inSixLanes: 1 })}\n`;
};
const printed = sample('off', 400) + sample('scalar', 420) + sample('avx512', 200);
const openssl = '{"library":"OpenSSL 3","round":0,"micros":1600}\n';

async function bench(t: Test, args: readonly string[], opensslBuilds = true) {
  const folder = t.testdir({ results: {} });
  const results = join(folder, 'results');
  const native = standInForNativeBench(folder, printed, { bench_openssl: openssl });
  if (!opensslBuilds) {
    const script = '#!/bin/sh\n[ "$4" != bench_openssl ] || { echo no such target >&2; exit 1; }\n';
    writeFileSync(join(folder, 'cmake'), script);
  }
  const main = join(root, 'src/bench/handshakes/main.ts');
  const command = [`PATH=${native.path}`, process.execPath, main, '--results', results];
  const ended = await runProgram('env', [...command, ...args], { timeoutMs: 60_000 });
  return { ...ended, started: native.started(), results };
}

t.test('each round has both programs, on the core that is asked for', async (t) => {
  const { code, stdout, stderr, started, results } = await bench(t, [
    ...['--rounds', '2', '--handshakes', '50', '--core', '1'],
  ]);
  t.equal(code, 0, stderr);
  const program = (name: string): string => `taskset -c 1 ${join(root, 'build/native', name)} 1 50`;
  t.same(
    started.filter((line) => line.startsWith('taskset')),
    ['bench_openssl', 'bench_handshakes', 'bench_openssl', 'bench_handshakes'].map(program),
  );
  t.match(stdout, /\| each verified \| 8 \| 400 \(400\.\.400\) .* 2\.10 \(/);
  t.match(stdout, /^OpenSSL 3: 1600 .* 8\.00 \(8\.00\.\.8\.00\) times/m);
  const [file = ''] = readdirSync(results);
  t.match(file, /handshakes\.json$/);
  t.match(JSON.parse(readFileSync(join(results, file), 'utf8')), {
    machine: { cpu: String, cores: Number, memoryGb: Number, kernel: String },
    versions: { weft: String },
    cpuFlags: Array,
    ...{ rounds: 2, handshakes: 50 },
    figures: { ways: [{ gain: { n: 2, median: 2.1 } }] },
    samples: [{ openssl: { micros: 1600 } }, { handshakes: [{ mode: 'off' }] }],
  });
});

t.test("where the system's OpenSSL cannot be measured it says why, and goes on", async (t) => {
  const { code, stdout, stderr } = await bench(t, ['--rounds', '1', '-o', 'json'], false);
  t.equal(code, 0, stderr);
  t.match(stderr, /without the system's OpenSSL: .*no such target/s);
  const { figures } = JSON.parse(stdout);
  t.equal(figures.openssl, undefined);
  t.equal(figures.ways.length, 1);
});

t.test('flags out of bounds are refused before anything is built', async (t) => {
  const { code, stderr, started } = await bench(t, ['--handshakes', '0']);
  t.not(code, 0);
  t.match(stderr, /0 is not a whole number from 1 to 1000000/);
  t.same(started, ['']);
});
