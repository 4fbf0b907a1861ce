// SPDX-License-Identifier: Apache-2.0
// `npm run bench:handshakes`: what whole handshakes cost, computed by the TLS library, on fibers,
// and in lanes, and by the system's OpenSSL. bench/native/handshakes.cc and
// bench/openssl/handshakes.cc measure.
import { Command, Option } from 'commander';
import { MeshError } from '../../lib/error.ts';
import { buildNativeBench, positiveUpTo, runNativeBench } from '../native-bench.ts';
import { resultsFolder, saveResults } from '../results.ts';
import { figuresOf, handshakesIn, opensslIn, type Round } from './samples.ts';
import { handshakeTable } from './table.ts';

interface BenchOptions {
  readonly rounds: number;
  readonly handshakes: number;
  readonly core: string;
  readonly output: 'table' | 'json';
  readonly results: string;
}

/** Why there is no bench_openssl; undefined where there is. */
async function withoutOpenssl(): Promise<string | undefined> {
  try {
    await buildNativeBench('bench_openssl');
    return;
  } catch (error) {
    return MeshError.from(error).message;
  }
}

async function measure(core: string, handshakes: number, withOpenssl: boolean): Promise<Round> {
  const args = [1, handshakes];
  const openssl = withOpenssl
    ? opensslIn(await runNativeBench('bench_openssl', core, args))
    : undefined;
  return {
    openssl,
    handshakes: handshakesIn(await runNativeBench('bench_handshakes', core, args)),
  };
}

async function bench({ rounds, handshakes, core, output, results }: BenchOptions): Promise<void> {
  const why = await withoutOpenssl();
  if (why !== undefined) {
    process.stderr.write(`  without the system's OpenSSL: ${why}\n`);
  }
  const samples: Round[] = [];
  for (let round = 0; round < rounds; round++) {
    samples.push(await measure(core, handshakes, why === undefined));
  }
  const figures = figuresOf(samples);
  const body = { rounds, handshakes, figures };
  process.stdout.write(
    output === 'json' ? `${JSON.stringify(body, null, 1)}\n` : handshakeTable(figures),
  );
  const saved = await saveResults(results, { ...body, samples }, 'handshakes');
  process.stderr.write(`  written to ${saved}\n`);
}

const command = new Command('bench:handshakes')
  .description('measure whole handshakes, one by one and in lanes')
  .option('--rounds <n>', 'of every way', positiveUpTo(1000), 5)
  .option('--handshakes <n>', 'of every way in a round', positiveUpTo(1_000_000), 400)
  .option('--core <n>', 'the processor that everything runs on', '0')
  .addOption(new Option('-o, --output <kind>').choices(['table', 'json']).default('table'))
  .option('--results <folder>', 'where the result is written to', resultsFolder);
command.parse();
await bench(command.opts<BenchOptions>());
