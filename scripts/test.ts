// SPDX-License-Identifier: Apache-2.0
// Every test of the project, in all its languages; the last line printed holds the counts.
// Arguments choose parts: unit, fuzz, or paths of TypeScript tests. With --coverage the tests that
// mirror a TypeScript source are run, and how much of it they reach is looked at, nothing else.
// Started by the launcher.
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { MeshError } from '../src/lib/error.ts';
import { cpuFlagsOf } from '../src/lib/machine.ts';
import { coverageJob } from './coverage.ts';
import { dependencyPrefix } from './deps.ts';
import { fuzzBuilds, programBuilds, unitBuilds } from './native-tests.ts';
import { type Build, type Done, lineOf, runJobs, slowestOf } from './schedule.ts';
import { reportOf, sumOf, tallyOne } from './tally.ts';
import { fileJobs, filesOf, testFiles } from './typescript-tests.ts';

/** Rows of the table of times. */
const slowestCount = 15;
/** Labs at once: each has a control plane, two proxies and a dozen processes of pods. */
const labsMax = 2;

/** Throws MeshError `unavailable` where tests shall compute by what the processor does not have. */
function needLanes(mode: string | undefined): void {
  const wanted = ['avx512ifma', 'avx512_vbmi2'];
  const found = cpuFlagsOf(readFileSync('/proc/cpuinfo', 'utf8'), wanted);
  if (mode === 'avx512' && found.length < wanted.length) {
    const instead = 'WEFT_CRYPTO=portable tests all but the kernels';
    throw new MeshError('unavailable', `this processor has no AVX-512 IFMA: ${instead}`);
  }
}

async function buildsOf(all: boolean, chosen: readonly string[]): Promise<Build[]> {
  const unit = all || chosen.includes('unit');
  const fuzz = all || chosen.includes('fuzz');
  if (!unit && !fuzz) {
    return [];
  }
  const prefix = await dependencyPrefix();
  return [
    ...(unit ? unitBuilds(prefix) : []),
    ...(all ? programBuilds(prefix) : []),
    ...(fuzz ? fuzzBuilds(prefix) : []),
  ];
}

async function runParts(argv: readonly string[]): Promise<Done[]> {
  needLanes(process.env['WEFT_CRYPTO']);
  const chosen = argv.filter((arg) => arg !== '--coverage');
  const say = (done: Done): boolean => process.stdout.write(lineOf(done));
  if (chosen.length < argv.length) {
    return await runJobs([], [coverageJob(chosen)], say);
  }
  const all = chosen.length === 0;
  const paths = chosen.filter((each) => each !== 'unit' && each !== 'fuzz');
  const files = fileJobs(all ? testFiles() : filesOf(paths));
  const builds = await buildsOf(all, chosen);
  const cores = availableParallelism();
  const lanes = [
    { width: labsMax, jobs: files.waiting },
    { width: cores, jobs: files.others },
    { width: cores, builds, jobs: files.fuzzers },
  ];
  return await runJobs(lanes, files.alone, say);
}

async function main(argv: readonly string[]): Promise<number> {
  try {
    const done = await runParts(argv);
    process.stdout.write(slowestOf(done, slowestCount));
    const sum = sumOf(done.map(({ tally }) => tally));
    process.stdout.write(reportOf(sum));
    return sum.failed === 0 ? 0 : 1;
  } catch (error) {
    process.stdout.write(reportOf(tallyOne('test run', MeshError.from(error).message)));
    return 1;
  }
}

process.exitCode = await main(process.argv.slice(2));
