// SPDX-License-Identifier: Apache-2.0
// `npm run bench:crypto`: what public-key operations cost one after the other, as the TLS library
// does them, and in lanes. bench/native/crypto.cc measures.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { MeshError } from '../../lib/error.ts';
import { mustRun } from '../../lib/program.ts';
import { resultsFolder, saveResults } from '../results.ts';
import { cpuFlagsIn } from './cpu-flags.ts';
import { cryptoTable, figuresOf, samplesIn } from './samples.ts';

const root = join(import.meta.dirname, '../../..');
const program = 'bench_crypto';
const buildTimeoutMs = 600_000;
const runTimeoutMs = 600_000;

interface BenchOptions {
  readonly rounds: number;
  readonly core: string;
  readonly output: 'table' | 'json';
  readonly results: string;
}

async function bench({ rounds, core, output, results }: BenchOptions): Promise<void> {
  const build = ['--build', join(root, 'build'), '--target', program];
  await mustRun('cmake', build, { timeoutMs: buildTimeoutMs });
  const file = join(root, 'build/native', program);
  const command = ['-c', core, file, String(rounds)];
  const samples = samplesIn(await mustRun('taskset', command, { timeoutMs: runTimeoutMs }));
  const cpuFlags = cpuFlagsIn(readFileSync('/proc/cpuinfo', 'utf8'));
  const figures = figuresOf(samples);
  const body = { rounds, cpuFlags, figures };
  process.stdout.write(
    output === 'json' ? `${JSON.stringify(body, null, 1)}\n` : cryptoTable(figures),
  );
  const saved = await saveResults(results, { ...body, samples }, 'crypto');
  process.stderr.write(`  written to ${saved}\n`);
}

const positive = (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 1000) {
    throw new MeshError('invalid', `${text} is not a whole number from 1 to 1000`);
  }
  return value;
};

const command = new Command('bench:crypto')
  .description('measure public-key operations, one by one and in lanes')
  .option('--rounds <n>', 'of every operation and filling', positive, 15)
  .option('--core <n>', 'the processor that everything runs on', '0')
  .addOption(new Option('-o, --output <kind>').choices(['table', 'json']).default('table'))
  .option('--results <folder>', 'where the result is written to', resultsFolder);
command.parse();
await bench(command.opts<BenchOptions>());
