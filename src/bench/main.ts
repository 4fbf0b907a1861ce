// SPDX-License-Identifier: Apache-2.0
// `weft bench`: measures the mesh beside other ways, and `weft bench report` draws what was kept.
import { Command, InvalidArgumentError, Option } from 'commander';
import { MeshError } from '../lib/error.ts';
import { interruption } from './bench-lab.ts';
import { verdictsOn } from './goals.ts';
import { full, type Plan, quick, variantNames, workloadNames } from './plan.ts';
import { Progress } from './progress.ts';
import { writeReport } from './report/report.ts';
import { resultsFolder, resultsOf, saveResults } from './results.ts';
import { type Outcome, runPlan } from './run.ts';
import {
  goalsTable,
  notRunTable,
  proofTable,
  ratiosTable,
  syscallTable,
  tableOf,
} from './table.ts';
import { needPrograms } from './tools.ts';
import { weft } from './variants/weft.ts';

/** What a shell makes of SIGINT. */
const exitInterrupted = 130;
const programs = ['sockperf', 'wrk', 'iperf3', 'taskset', 'openssl'];

/** The flags. */
interface BenchOptions extends Partial<Plan> {
  readonly name: string;
  readonly full?: boolean;
  readonly engine: readonly string[];
  readonly results: string;
  readonly topic?: string;
  readonly output: 'text' | 'json';
}

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

function textOf({ rows, proofs, syscalls, notRun }: Outcome, variants: readonly string[]): string {
  const verdicts = verdictsOn(rows);
  const tables = [
    proofs.length > 0 ? proofTable(proofs) : '',
    rows.length > 0 ? tableOf(rows, variants, notRun) : '',
    rows.some(({ variant }) => variant === weft.name) ? ratiosTable(rows, weft.name) : '',
    notRunTable(notRun),
    verdicts.length > 0 ? goalsTable(verdicts) : '',
    syscalls.length > 0 ? syscallTable(syscalls) : '',
  ];
  return tables.filter((table) => table !== '').join('\n');
}

function planOf({ full: all, ...options }: BenchOptions): Plan {
  const base = all === true ? full : quick;
  return {
    variants: options.variants ?? base.variants,
    workloads: options.workloads ?? base.workloads,
    rounds: options.rounds ?? base.rounds,
    seconds: options.seconds ?? base.seconds,
  };
}

/** Writes what was measured into files, and tells it. */
async function keep(outcome: Outcome, plan: Plan, options: BenchOptions): Promise<void> {
  const { rows, samples, proofs, syscalls, readings, notRun, failure } = outcome;
  const body = {
    ...{ rounds: plan.rounds, seconds: plan.seconds, engine: options.engine },
    variants: outcome.variants.map((each) => ({ name: each.name, title: each.title })),
    ...{ results: resultsOf(rows), notRun, proofs, verdicts: verdictsOn(rows) },
    ...(failure === undefined ? {} : { failure: failure.message }),
    ...{ syscalls, readings, samples },
  };
  const topic = options.topic ?? (options.full === true ? 'full' : 'quick');
  const file = await saveResults(options.results, body, topic);
  const page = await writeReport([file], file.replace(/\.json$/, '.html'));
  if (options.output === 'json') {
    const { samples: _, readings: __, ...told } = body;
    process.stdout.write(`${JSON.stringify({ ...told, file, page })}\n`);
  } else {
    process.stdout.write(textOf(outcome, plan.variants));
  }
  process.stderr.write(`  written to ${file} and ${page}\n`);
}

async function bench(options: BenchOptions): Promise<void> {
  const plan = planOf(options);
  const usesStrace = plan.workloads.includes('syscalls');
  await needPrograms(usesStrace ? [...programs, 'strace'] : programs);
  const progress = new Progress(process.stderr);
  const { name, engine } = options;
  const outcome = await runPlan({ ...plan, name, engine, progress });
  progress.end();
  const { rows, samples, syscalls, failure } = outcome;
  if (failure === undefined || rows.length + samples.length + syscalls.length > 0) {
    await keep(outcome, plan, options);
  }
  if (failure === interruption) {
    process.exit(exitInterrupted); // What was under way would go on, without a lab.
  }
  if (failure !== undefined) {
    throw failure;
  }
}

function benchCommand(): Command {
  return new Command('weft bench')
    .description('measure the mesh, the bare link and sidecars in turn, on a lab of its own')
    .option('--quick', 'four ways and four loads, about six minutes; the default')
    .addOption(new Option('--full', 'every way and every load').conflicts('quick'))
    .option('--variants <names>', `which of ${variantNames.join(', ')}`, listOf(variantNames))
    .option('--workloads <names>', `which of ${workloadNames.join(', ')}`, listOf(workloadNames))
    .option('--rounds <n>', 'rounds of every load', positive)
    .option('--seconds <n>', 'length of one measurement', positive)
    .option('--engine <name=value>', "a setting of Weft's engine; may be repeated", collect, [])
    .option('--name <name>', "the lab's name", 'bench')
    .option('--results <folder>', 'where every sample is written to', resultsFolder)
    .option('--topic <name>', "the end of the results' file name; quick or full if not given")
    .addOption(new Option('-o, --output <format>').choices(['text', 'json']).default('text'))
    .action(async (options: BenchOptions) => await bench(options));
}

function reportCommand(): Command {
  return new Command('report')
    .description('draw files of results as one page; compare two')
    .argument('<files...>', 'one file, or an older one and a newer one')
    .option('--page <file>', 'the page to write; beside the last file if not given')
    .action(async (files: string[], { page }: { readonly page?: string }) => {
      const last = files.at(-1) ?? '';
      const written = await writeReport(files, page ?? `${last.replace(/\.json$/, '')}.html`);
      process.stdout.write(`${written}\n`);
    });
}

/** The verb `bench`. Exit code 3 when this machine lacks a tool. */
export async function main(argv: readonly string[]): Promise<number> {
  const program = benchCommand();
  program.addCommand(reportCommand());
  try {
    await program.parseAsync(argv, { from: 'user' });
    return 0;
  } catch (thrown) {
    const error = MeshError.from(thrown);
    process.stderr.write(`weft bench: ${error.message}\n`);
    return error.code === 'unsupported' ? 3 : 1;
  }
}
