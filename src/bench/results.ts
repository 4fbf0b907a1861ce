// SPDX-License-Identifier: Apache-2.0
// Keeps what was measured: figures, every sample, and the machine it was measured on.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { MeshError } from '../lib/error.ts';
import { runProgram } from '../lib/program.ts';
import { version } from '../lib/version.ts';
import { cpuFlagsIn } from './cpu-flags.ts';
import type { Verdict } from './goals.ts';
import type { NotRun } from './rounds.ts';
import { envoyVersion } from './sidecars/envoy-install.ts';
import type { Spread } from './statistics.ts';
import type { Row } from './summary.ts';
import { bare } from './variants/bare.ts';
import { vegetaVersion } from './vegeta.ts';

/** Where results are kept, in the repository. */
export const resultsFolder: string = join(import.meta.dirname, '../../bench/results');

/** One figure of one workload through one variant. */
export interface Result extends Spread {
  readonly variant: string;
  readonly workload: string;
  readonly metric: string;
  readonly unit: string;
  /** Rounds in which others had the processors for a noticeable time. */
  readonly disturbed: number;
  /** Runs that the load tool gave up and that were made again; absent without any. */
  readonly failures?: number | undefined;
  /** Rounds in which the load that the figure is beside fell short of its rate; absent without any. */
  readonly short?: number | undefined;
  /** To the bare link, within each round. */
  readonly ratioToBare?: Spread | undefined;
  /** To each rival, by its name, within each round. */
  readonly ratios: Readonly<Record<string, Spread>>;
  /** The figure of each round. */
  readonly rounds: Readonly<Record<string, number>>;
}

/** A file of results, as far as a report reads it. */
export interface ResultsFile {
  readonly format: 1;
  readonly date: string;
  readonly machine: {
    readonly cpu: string;
    readonly cores: number;
    readonly memoryGb: number;
    readonly kernel: string;
  };
  readonly versions: Readonly<Record<string, string>>;
  readonly rounds: number;
  readonly seconds: number;
  readonly variants: readonly { readonly name: string; readonly title: string }[];
  readonly results: readonly Result[];
  readonly notRun: readonly NotRun[];
  /** Of the goals that were measured; files of before had them in another shape, and show none. */
  readonly verdicts: readonly Verdict[];
  /** What ended the run before all was measured. */
  readonly failure?: string | undefined;
}

const spread = z.object({ n: z.int(), median: z.number(), min: z.number(), max: z.number() });

const result = spread.extend({
  ...{ variant: z.string(), workload: z.string(), metric: z.string(), unit: z.string() },
  disturbed: z.int(),
  failures: z.int().optional(),
  short: z.int().optional(),
  ratioToBare: spread.optional(),
  ratios: z.record(z.string(), spread),
  rounds: z.record(z.string(), z.number()),
});

const machine = z.object({
  ...{ cpu: z.string(), cores: z.int(), memoryGb: z.number(), kernel: z.string() },
});

const notRun = z.object({ variant: z.string(), workload: z.string().optional(), why: z.string() });

const verdict = z.object({
  ...{ variant: z.string(), workload: z.string(), figure: z.string() },
  to: z.string().optional(),
  ...{ atMost: z.number().optional(), atLeast: z.number().optional(), spread, ok: z.boolean() },
});

const resultsFile = z.looseObject({
  ...{ format: z.literal(1), date: z.string(), machine, rounds: z.int(), seconds: z.int() },
  versions: z.record(z.string(), z.string()),
  variants: z.array(z.object({ name: z.string(), title: z.string() })),
  results: z.array(result),
  notRun: z.array(notRun),
  verdicts: z.array(verdict).catch([]),
  failure: z.string().optional(),
});

/** The rows as they stand in a file. */
export function resultsOf(rows: readonly Row[]): Result[] {
  return rows.map(({ figure, spread: own, ratios, rounds, ...row }) => {
    const { variant, workload, unit, disturbed, failures, short } = row;
    const { [bare.name]: ratioToBare, ...others } = ratios;
    return {
      ...{ variant, workload, metric: figure, unit, ...own, disturbed },
      ...(failures === undefined ? {} : { failures }),
      ...(short === undefined ? {} : { short }),
      ...(ratioToBare === undefined ? {} : { ratioToBare }),
      ratios: others,
      rounds: Object.fromEntries(Object.entries(rounds).map(([n, value]) => [String(n), value])),
    };
  });
}

/** The machine in a few words, for a file's name. */
export function slugOf(model: string): string {
  return model
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');
}

const debianTools = ['sockperf', 'wrk', 'iperf3', 'nginx', 'haproxy'];

async function debianVersions(): Promise<Record<string, string>> {
  const format = ['Package', 'Version'].map((field) => `\${${field}}`).join(' ');
  const args = ['-W', '-f', `${format}\\n`, ...debianTools];
  const { stdout } = await runProgram('dpkg-query', args).catch(() => ({ stdout: '' }));
  const found = stdout.split('\n').flatMap((line): [string, string][] => {
    const [name, version] = line.split(' ');
    return name && version ? [[name, version]] : [];
  });
  return Object.fromEntries(found);
}

// The first name that no file has: what was measured is never written over.
function writeFresh(stem: string, text: string): string {
  for (let n = 1; ; n++) {
    const file = `${stem}${n === 1 ? '' : `-${n}`}.json`;
    try {
      writeFileSync(file, text, { flag: 'wx' });
      return file;
    } catch (error) {
      if (MeshError.from(error).code !== 'conflict') {
        throw error;
      }
    }
  }
}

// The commit, where this is a clone: two files are compared to see what a change did.
async function weftVersion(): Promise<string> {
  const args = ['-C', import.meta.dirname, 'describe', '--always', '--dirty', '--tags'];
  const { code, stdout } = await runProgram('git', args).catch(() => ({ code: 1, stdout: '' }));
  return code === 0 ? `${version} ${stdout.trim()}` : version;
}

/**
 * Writes `body` into `folder` as DATE-MACHINE-TOPIC.json, or with a number behind that where there
 * is such a file, and answers its path.
 */
export async function saveResults(folder: string, body: object, topic: string): Promise<string> {
  mkdirSync(folder, { recursive: true });
  const date = new Date().toISOString();
  const cpu = cpus()[0]?.model ?? 'unknown';
  const memoryGb = Math.round(totalmem() / 1e9);
  const place = { cpu, cores: cpus().length, memoryGb, kernel: release() };
  const own = {
    weft: await weftVersion(),
    node: process.version,
    envoy: envoyVersion,
    vegeta: vegetaVersion,
  };
  const versions = { ...own, ...(await debianVersions()) };
  const stem = join(folder, `${date.slice(0, 10)}-${slugOf(cpu)}-${topic}`);
  const cpuFlags = cpuFlagsIn(readFileSync('/proc/cpuinfo', 'utf8'));
  const all = { format: 1, date, machine: place, cpuFlags, versions, ...body };
  return writeFresh(stem, `${JSON.stringify(all, null, 1)}\n`);
}

/** Reads a file of results. Throws MeshError `invalid` when it is none. */
export function readResults(file: string): ResultsFile {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(file, 'utf8'));
  } catch (cause) {
    throw new MeshError('invalid', `${file} cannot be read as JSON`, { cause });
  }
  const parsed = resultsFile.safeParse(json);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const where = issue?.path.join('.') ?? '';
    throw new MeshError('invalid', `${file} is no file of results: ${where}: ${issue?.message}`);
  }
  return parsed.data;
}
