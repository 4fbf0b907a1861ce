// SPDX-License-Identifier: Apache-2.0
// `npm run bench:hooks`: what a connection costs in the kernel's programs, for each way that it can
// take. bench/native/hooks.cc makes the connections, and the kernel counts.
import { Command } from 'commander';
import { positiveUpTo, runNativeBench } from '../native-bench.ts';
import { resultsFolder, saveResults } from '../results.ts';
import { hooksTable, samplesIn, waysOf } from './samples.ts';

interface BenchOptions {
  readonly rounds: number;
  readonly connections: number;
  readonly core: string;
  readonly results: string;
}

async function bench({ rounds, connections, core, results }: BenchOptions): Promise<void> {
  const samples = samplesIn(await runNativeBench('bench_hooks', core, [rounds, connections]));
  const ways = waysOf(samples);
  process.stdout.write(hooksTable(ways));
  const saved = await saveResults(results, { rounds, connections, ways, samples }, 'hooks');
  process.stderr.write(`  written to ${saved}\n`);
}

const command = new Command('bench:hooks')
  .description("measure what connections cost in the kernel's programs; needs root")
  .option('--rounds <n>', 'of every way', positiveUpTo(10_000), 9)
  .option('--connections <n>', 'of one round, one after the other', positiveUpTo(10_000), 500)
  .option('--core <n>', 'the processor that everything runs on', '0')
  .option('--results <folder>', 'where the result is written to', resultsFolder);
command.parse();
await bench(command.opts<BenchOptions>());
