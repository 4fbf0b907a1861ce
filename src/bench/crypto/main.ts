// SPDX-License-Identifier: Apache-2.0
// `npm run bench:crypto`: what public-key operations cost one after the other, as the TLS library
// does them, and in lanes. bench/native/crypto.cc measures.
import { Command, Option } from 'commander';
import { positiveUpTo, runNativeBench } from '../native-bench.ts';
import { resultsFolder, saveResults } from '../results.ts';
import { cryptoTable, figuresOf, samplesIn } from './samples.ts';

interface BenchOptions {
  readonly rounds: number;
  readonly core: string;
  readonly output: 'table' | 'json';
  readonly results: string;
}

async function bench({ rounds, core, output, results }: BenchOptions): Promise<void> {
  const samples = samplesIn(await runNativeBench('bench_crypto', core, [rounds]));
  const figures = figuresOf(samples);
  const body = { rounds, figures };
  process.stdout.write(
    output === 'json' ? `${JSON.stringify(body, null, 1)}\n` : cryptoTable(figures),
  );
  const saved = await saveResults(results, { ...body, samples }, 'crypto');
  process.stderr.write(`  written to ${saved}\n`);
}

const command = new Command('bench:crypto')
  .description('measure public-key operations, one by one and in lanes')
  .option('--rounds <n>', 'of every operation and filling', positiveUpTo(1000), 15)
  .option('--core <n>', 'the processor that everything runs on', '0')
  .addOption(new Option('-o, --output <kind>').choices(['table', 'json']).default('table'))
  .option('--results <folder>', 'where the result is written to', resultsFolder);
command.parse();
await bench(command.opts<BenchOptions>());
