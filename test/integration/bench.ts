// SPDX-License-Identifier: Apache-2.0
// The benchmark from end to end, as short as can be: it measures something through each way, says
// what it did not, and draws it. How fast anything was is not looked at. Needs root and the tools.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { allVariants } from '../../src/bench/variants/all.ts';
import { runProgram } from '../../src/lib/program.ts';
import { envoyOrReason } from '../support/envoy-peer.ts';

// Beside others each measurement is repeated.
t.setTimeout(420_000);
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

interface Sample {
  readonly workload: string;
  readonly variant: string;
  readonly figures: Readonly<Record<string, number>>;
  readonly usage: { readonly proxies: number };
}

t.test('measures every way, and keeps all samples', { skip: await reasonToSkip() }, async (t) => {
  const results = t.testdir();
  const how = ['--name', 'benchtest', '--rounds', '1', '--seconds', '1', '--results', results];
  const what = ['--full', '--workloads', 'crr32,local-rtt64', '--output', 'json'];
  const args = [launcher, 'bench', ...how, ...what];
  const run = await runProgram(process.execPath, args, { timeoutMs: 400_000 });
  t.equal(run.code, 0, run.stderr);
  const told = JSON.parse(run.stdout);
  const kept = JSON.parse(readFileSync(told.file, 'utf8'));
  t.strictSame(kept.results, told.results);

  for (const { name } of allVariants) {
    const out = kept.notRun.filter(({ variant }: { variant: string }) => variant === name);
    const measured = kept.samples.filter(({ variant }: Sample) => variant === name);
    const isOut = out.some(({ workload }: { workload?: string }) => workload === undefined);
    t.equal(measured.length, isOut ? 0 : 2 - out.length, `${name}: measured, or told why not`);
    t.ok(out.every(({ why }: { why: string }) => why.length > 10));
  }
  for (const sample of kept.samples as Sample[]) {
    const what = `${sample.workload} through ${sample.variant}`;
    t.ok(
      Object.values(sample.figures).every((value) => value > 0),
      what,
    );
    const isProxied = !['bare', 'weft-direct'].includes(sample.variant);
    t.equal(sample.usage.proxies > 0, isProxied, what);
  }
  const rtt = kept.results.find(({ variant, workload, metric }: Record<string, string>) => {
    return variant === 'weft' && workload === 'local-rtt64' && metric === 'added p50';
  });
  t.match(rtt, { unit: 'us', n: 1, ratios: { 'envoy-l4': { n: 1 } } });
  t.match(
    kept.proofs.find(({ variant }: { variant: string }) => variant === 'weft'),
    { readable: 0, tls: 'TLSv1.3', peer: 'spiffe://cluster.local/ns/weft/sa/server' },
  );
  t.match(readFileSync(told.page, 'utf8'), /<svg[\s\S]+All figures/);
});
