// SPDX-License-Identifier: Apache-2.0
// `npm run kernels`: the tests of the kernel's part on this kernel and, in virtual machines, on
// Debian's; and what each program is to them, against docs/kernels.json. Arguments choose kernels
// ("6.1", "running"); --record writes down what was seen. Exit code 1 when something failed or a
// program grew, 3 when this machine lacks something.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { MeshError } from '../src/lib/error.ts';
import { buildBpf } from './bpf.ts';
import { buildAddon } from './build.ts';
import { type Ended, outcomeOf, runToEnd } from './child.ts';
import { dependencyPrefix } from './deps.ts';
import {
  complaints,
  costsIn,
  type KernelRecords,
  lineOf,
  sorted,
  tableOf,
} from './kernels/costs.ts';
import { needMachines, runOn } from './kernels/machine.ts';
import { kernelOf } from './kernels/package.ts';
import { root, step } from './steps.ts';

/** Kernels of Debian 12: its own, and the one of its successor. */
const debianLines = ['6.1', '6.12'];
const running = 'running';
const recordFile = join(root, 'docs/kernels.json');
const program = join(root, 'build/native/kernel_unit');
const programTimeoutMs = 300_000;

/** What a kernel made of the tests and the programs. */
interface Seen {
  readonly release: string;
  readonly ended: Ended;
}

async function tryOn(kernel: string, work: string): Promise<Seen> {
  if (kernel === running) {
    const own = { file: program, args: [], timeoutMs: programTimeoutMs };
    return { release: release(), ended: await runToEnd(own) };
  }
  await needMachines();
  const found = await kernelOf(kernel);
  return { release: found.release, ended: await runOn(found, program, work) };
}

function readRecords(): KernelRecords {
  return JSON.parse(readFileSync(recordFile, 'utf8')) as KernelRecords;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Tells what one kernel made of it; returns whether that is as it should be. */
function judge({ release: version, ended }: Seen, records: KernelRecords): boolean {
  const { tally, output } = outcomeOf(ended, version);
  const seen = costsIn(ended.stdout);
  const grown = complaints(seen, records[lineOf(version)]?.programs);
  const silent = Object.keys(seen).length === 0 ? ['no program was loaded'] : [];
  say(`  ${version}: ${tally.passed} passed, ${tally.failed} failed`);
  for (const line of [...(output === '' ? [] : [output]), ...grown, ...silent]) {
    say(line);
  }
  return tally.failed === 0 && grown.length + silent.length === 0;
}

function withSeen(records: KernelRecords, { release: version, ended }: Seen): KernelRecords {
  return { ...records, [lineOf(version)]: { release: version, programs: costsIn(ended.stdout) } };
}

/** Exit codes of all kernels, of which the gravest counts. */
const graver = (a: number, b: number): number => (a === 1 || b === 1 ? 1 : Math.max(a, b));

/** All of a run: what was seen, and whether anything is wrong. */
class Run {
  readonly #work: string;
  readonly #writes: boolean;
  #records: KernelRecords = readRecords();
  #code = 0;

  constructor(work: string, writes: boolean) {
    this.#work = work;
    this.#writes = writes;
  }

  async take(kernel: string): Promise<void> {
    try {
      const seen = await step(`kernel ${kernel}`, () => tryOn(kernel, this.#work));
      const isWell = judge(seen, this.#writes ? {} : this.#records);
      this.#code = graver(this.#code, isWell ? 0 : 1);
      this.#records = withSeen(this.#records, seen);
    } catch (error) {
      const { code, message } = MeshError.from(error);
      say(`  not run: ${message}`);
      this.#code = graver(this.#code, code === 'unsupported' ? 3 : 1);
    }
  }

  /** Tells all figures, and writes them down if that is wanted and none of them is in doubt. */
  end(): number {
    if (this.#writes && this.#code !== 1) {
      writeFileSync(recordFile, `${JSON.stringify(sorted(this.#records), null, 2)}\n`);
    }
    say(`\n${tableOf(this.#records)}`);
    return this.#code;
  }
}

async function main(argv: readonly string[]): Promise<number> {
  const chosen = argv.filter((arg) => arg !== '--record');
  const prefix = await dependencyPrefix();
  await step('BPF programs', () => buildBpf(prefix));
  await step('kernel tests', () => buildAddon(prefix, 'kernel_unit'));
  const work = mkdtempSync(join(tmpdir(), 'weft-kernels-'));
  try {
    const run = new Run(work, argv.includes('--record'));
    for (const kernel of chosen.length === 0 ? [running, ...debianLines] : chosen) {
      await run.take(kernel);
    }
    return run.end();
  } finally {
    rmSync(work, { recursive: true });
  }
}

process.exitCode = await main(process.argv.slice(2));
