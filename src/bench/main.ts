// SPDX-License-Identifier: Apache-2.0
import { Command, InvalidArgumentError } from 'commander';
import { MeshError } from '../lib/error.ts';
import { runProgram } from '../lib/program.ts';
import { ours, variantNames, withBenchLab } from './bench-lab.ts';
import { verdictsOn } from './goals.ts';
import { idleMemory, type MemoryReading, memoryRows, podMemory } from './memory.ts';
import { resultsFolder, saveResults } from './results.ts';
import { runRounds, type Sample, type Variant } from './rounds.ts';
import { summaryOf } from './summary.ts';
import { countSyscalls, type SyscallRow } from './syscalls.ts';
import { goalsTable, memoryTable, syscallTable, tableOf } from './table.ts';
import { type Mode, modes, workloads } from './workloads.ts';

const tools = ['sockperf', 'wrk', 'iperf3', 'taskset'];
const studies = ['syscalls', 'memory'];

/** The flags. */
interface BenchOptions {
  readonly name: string;
  readonly rounds: number;
  readonly seconds: number;
  readonly only: readonly string[];
  readonly variants: readonly string[];
  /** Settings of the engine, besides those of a mode. */
  readonly engine: readonly string[];
  readonly results: string;
}

type Progress = (text: string) => void;

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 100) {
    throw new InvalidArgumentError('a whole number from 1 to 100 is expected');
  }
  return value;
}

/** A parser of a comma-separated list whose items are all among `known`. */
function listOf(known: readonly string[]): (text: string) => string[] {
  return (text) => {
    const names = text.split(',');
    const strange = names.find((name) => !known.includes(name));
    if (strange !== undefined) {
      throw new InvalidArgumentError(`"${strange}" is none of ${known.join(', ')}`);
    }
    return known.filter((name) => names.includes(name));
  };
}

const collect = (text: string, before: string[]): string[] => [...before, text];

async function checkTools(only: readonly string[]): Promise<void> {
  const wanted = only.includes('syscalls') ? [...tools, 'strace'] : tools;
  const found = await Promise.all(wanted.map((tool) => runProgram('which', [tool])));
  const missing = wanted.filter((_, index) => found[index]?.code !== 0);
  if (missing.length > 0) {
    const line = `apt-get install -y --no-install-recommends ${missing.join(' ')}`;
    throw new MeshError('unsupported', `load tools are missing: run  ${line}`);
  }
}

const withProxies = ({ proxies }: Variant): boolean => Object.keys(proxies).length > 0;

// On a lab of its own, since a heap does not shrink to what it was.
async function measureMemory(options: BenchOptions, progress: Progress): Promise<MemoryReading[]> {
  return await withBenchLab({ ...options, progress }, async (lab, all) => {
    const readings: MemoryReading[] = [];
    for (const variant of all.filter(withProxies)) {
      progress(`memory: ${variant.name}`);
      if (variant.name === ours) {
        readings.push(...(await podMemory(lab, variant)));
      }
      readings.push(...(await idleMemory(lab, variant)));
    }
    return readings;
  });
}

interface Measured {
  readonly samples: Sample[];
  readonly syscalls: SyscallRow[];
}

async function measureMode(
  mode: Mode,
  options: BenchOptions,
  progress: Progress,
): Promise<Measured> {
  const { only, seconds } = options;
  const chosen = workloads.filter((each) => each.mode === mode && only.includes(each.name));
  const counting = mode === 'warm' && only.includes('syscalls');
  if (chosen.length === 0 && !counting) {
    return { samples: [], syscalls: [] };
  }
  const engine = [...options.engine, ...modes[mode]];
  return await withBenchLab({ ...options, engine, progress }, async (lab, all) => {
    const samples = await runRounds(lab, chosen, all, { ...options, progress });
    const syscalls: SyscallRow[] = [];
    for (const variant of counting ? all.filter(withProxies) : []) {
      progress(`system calls: ${variant.name}`);
      syscalls.push(...(await countSyscalls(lab, variant, seconds)));
    }
    return { samples, syscalls };
  });
}

async function bench(options: BenchOptions): Promise<void> {
  const progress: Progress = (text) => {
    process.stderr.write(`  ${text}\n`);
  };
  await checkTools(options.only);
  const readings = options.only.includes('memory') ? await measureMemory(options, progress) : [];
  const samples: Sample[] = [];
  const syscalls: SyscallRow[] = [];
  for (const mode of Object.keys(modes) as Mode[]) {
    const measured = await measureMode(mode, options, progress);
    samples.push(...measured.samples);
    syscalls.push(...measured.syscalls);
  }
  const rows = workloads.flatMap((each) => summaryOf(each, samples, options.variants));
  const verdicts = verdictsOn(rows, ours);
  const memory = memoryRows(readings);
  const tables = [
    rows.length > 0 ? tableOf(rows) : '',
    verdicts.length > 0 ? goalsTable(verdicts) : '',
    syscalls.length > 0 ? syscallTable(syscalls) : '',
    memory.length > 0 ? memoryTable(memory) : '',
  ];
  process.stdout.write(tables.filter((table) => table !== '').join('\n'));
  const { results: folder, ...how } = options;
  const results = { ...how, rows, verdicts, syscalls, memory, readings, samples };
  progress(`written to ${saveResults(folder, results)}`);
}

/** The verb `bench`: builds a lab of its own, measures, removes it. Exit code 3 without the tools. */
export async function main(argv: readonly string[]): Promise<number> {
  const names = [...workloads.map(({ name }) => name), ...studies];
  const program = new Command('weft bench')
    .description('measure the mesh against the bare link and Envoy, in turn, on a lab of its own')
    .option('--name <name>', "the lab's name", 'bench')
    .option('--rounds <n>', 'rounds of every workload', positive, 5)
    .option('--seconds <n>', 'length of one measurement', positive, 3)
    .option('--only <names>', `which of ${names.join(', ')}`, listOf(names), names)
    .option('--variants <names>', 'through which ways', listOf(variantNames), variantNames)
    .option('--engine <name=value>', "a setting of Weft's engine; may be repeated", collect, [])
    .option('--results <folder>', 'where every sample is written to', resultsFolder);
  program.parse(argv, { from: 'user' });
  try {
    await bench(program.opts<BenchOptions>());
    return 0;
  } catch (thrown) {
    const error = MeshError.from(thrown);
    process.stderr.write(`weft bench: ${error.message}\n`);
    return error.code === 'unsupported' ? 3 : 1;
  }
}
