// SPDX-License-Identifier: Apache-2.0
// The benchmark from end to end, as short as can be: it measures something through each way and
// keeps it. How fast anything was is not looked at. Needs root and the load tools.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { runProgram } from '../../src/lib/program.ts';
import { envoyOrReason } from '../support/envoy-peer.ts';

t.setTimeout(180_000);
const launcher = join(import.meta.dirname, '../../src/cli/main.ts');

async function reasonToSkip(): Promise<string | false> {
  for (const tool of ['sockperf', 'wrk', 'iperf3', 'taskset']) {
    if ((await runProgram('which', [tool])).code !== 0) {
      return `${tool} is not installed`;
    }
  }
  const envoy = await envoyOrReason();
  return 'reason' in envoy ? envoy.reason : false;
}

t.test(
  'measures through every way, and keeps all samples',
  { skip: await reasonToSkip() },
  async (t) => {
    const results = t.testdir();
    const how = ['--name', 'benchtest', '--rounds', '1', '--seconds', '1', '--results', results];
    const args = [launcher, 'bench', ...how, '--only', 'rtt64,up1,crr32'];
    const run = await runProgram(process.execPath, args, { timeoutMs: 170_000 });
    t.equal(run.code, 0, run.stderr);
    t.match(run.stdout, /^rtt64 +added p50 +weft/m);
    t.match(run.stdout, /^(ok|MISSED) +crr32 +rate +at least 5\.5/m);
    const [file = ''] = readdirSync(results);
    const kept = JSON.parse(readFileSync(join(results, file), 'utf8'));
    t.equal(kept.samples.length, 9);
    for (const sample of kept.samples) {
      t.ok(
        Object.values(sample.figures).every((value) => Number(value) > 0),
        sample.workload,
      );
      const proxied = sample.variant !== 'bare';
      t.equal(sample.usage.proxies > 0, proxied, `${sample.workload} through ${sample.variant}`);
    }
  },
);
