// SPDX-License-Identifier: Apache-2.0
// `npm run bench:hooks`: what a connection costs in the kernel's programs, for each way that it can
// take. bench/native/hooks.cc makes the connections, and the kernel counts.
import { join } from 'node:path';
import { Command } from 'commander';
import { MeshError } from '../../lib/error.ts';
import { mustRun } from '../../lib/program.ts';
import { resultsFolder, saveResults } from '../results.ts';
import { hooksTable, samplesIn, waysOf } from './samples.ts';

const root = join(import.meta.dirname, '../../..');
const program = 'bench_hooks';
const buildTimeoutMs = 600_000;
const runTimeoutMs = 600_000;

interface BenchOptions {
  readonly rounds: number;
  readonly connections: number;
  readonly core: string;
  readonly results: string;
}

async function bench({ rounds, connections, core, results }: BenchOptions): Promise<void> {
  const build = ['--build', join(root, 'build'), '--target', program];
  await mustRun('cmake', build, { timeoutMs: buildTimeoutMs });
  const file = join(root, 'build/native', program);
  const command = ['-c', core, file, String(rounds), String(connections)];
  const printed = await mustRun('taskset', command, { timeoutMs: runTimeoutMs });
  const samples = samplesIn(printed);
  const ways = waysOf(samples);
  process.stdout.write(hooksTable(ways));
  const saved = await saveResults(results, { rounds, connections, ways, samples }, 'hooks');
  process.stderr.write(`  written to ${saved}\n`);
}

const positive = (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 10_000) {
    throw new MeshError('invalid', `${text} is not a whole number from 1 to 10000`);
  }
  return value;
};

const command = new Command('bench:hooks')
  .description("measure what connections cost in the kernel's programs; needs root")
  .option('--rounds <n>', 'of every way', positive, 9)
  .option('--connections <n>', 'of one round, one after the other', positive, 500)
  .option('--core <n>', 'the processor that everything runs on', '0')
  .option('--results <folder>', 'where the result is written to', resultsFolder);
command.parse();
await bench(command.opts<BenchOptions>());
