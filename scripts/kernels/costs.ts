// SPDX-License-Identifier: Apache-2.0
// What each program is to a kernel, as the tests say it, against what was recorded.
import { MeshError } from '../../src/lib/error.ts';

/** Figures of one program on one kernel; all of them are counts. */
export interface Cost {
  /** In the object. */
  readonly instructions: number;
  /** In the kernel, which puts some helpers in their places. */
  readonly translated: number;
  /** That the verifier looked at, each as often as it did. */
  readonly verified: number;
  /** States that it kept. */
  readonly states: number;
}

/** Programs by name. */
export type Costs = Readonly<Record<string, Cost>>;

/** One kernel, and what it made of them. */
export interface KernelRecord {
  readonly release: string;
  readonly programs: Costs;
}

/** By a kernel's major and minor version, as "6.12". */
export type KernelRecords = Readonly<Record<string, KernelRecord>>;

/** How much a figure may grow before somebody has to look: a fifth. */
const growthMax = 1.2;

const figures = ['instructions', 'translated', 'verified', 'states'] as const;
const lineOfProgram =
  /^\s*# program (\w+): (\d+) instructions, (\d+) translated, (\d+) verified, (\d+) states$/gm;

/** The figures in the notes of the tests' TAP. */
export function costsIn(tap: string): Costs {
  const found = [...tap.matchAll(lineOfProgram)].map(([, name = '', ...counts]) => {
    const [instructions = 0, translated = 0, verified = 0, states = 0] = counts.map(Number);
    return [name, { instructions, translated, verified, states }] as const;
  });
  return Object.fromEntries(found);
}

/** The key of a kernel in the records. Throws MeshError `invalid` for what is no release. */
export function lineOf(release: string): string {
  const [line] = /^\d+\.\d+(?=[.-])/.exec(release) ?? [];
  if (line === undefined) {
    throw new MeshError('invalid', `"${release}" is no release of a kernel`);
  }
  return line;
}

function complaintsOf(name: string, seen: Cost, recorded: Cost): string[] {
  return figures
    .filter((figure) => seen[figure] > recorded[figure] * growthMax)
    .map((figure) => `${name}: ${seen[figure]} ${figure}, recorded are ${recorded[figure]}`);
}

/**
 * Why `seen` is not what was recorded: programs that grew by more than a fifth, that are new, or
 * that are gone. Nothing recorded is no complaint.
 */
export function complaints(seen: Costs, recorded: Costs | undefined): string[] {
  if (recorded === undefined) {
    return [];
  }
  const gone = Object.keys(recorded).filter((name) => !(name in seen));
  const known = Object.entries(seen).flatMap(([name, cost]) => {
    const before = recorded[name];
    return before === undefined ? [`${name}: not recorded`] : complaintsOf(name, cost, before);
  });
  return [...known, ...gone.map((name) => `${name}: recorded, but not there`)];
}

const order = new Intl.Collator('en', { numeric: true });

/** The records, the oldest kernel first. */
export function sorted(records: KernelRecords): KernelRecords {
  return Object.fromEntries(Object.entries(records).sort(([a], [b]) => order.compare(a, b)));
}

/** The records as a table of Markdown: a row for each program, a column for each kernel. */
export function tableOf(records: KernelRecords): string {
  const lines = Object.keys(sorted(records));
  const names = [...new Set(lines.flatMap((line) => Object.keys(records[line]?.programs ?? {})))];
  const cell = (name: string, line: string): string => {
    const cost = records[line]?.programs[name];
    return cost === undefined ? '' : `${cost.translated} / ${cost.verified} / ${cost.states}`;
  };
  const head = `| program | instructions | ${lines.join(' | ')} |`;
  const rule = `|---|---|${lines.map(() => '---|').join('')}`;
  const rows = names.map((name) => {
    const own = lines.map((line) => records[line]?.programs[name]?.instructions);
    const cells = lines.map((line) => cell(name, line));
    return `| \`${name}\` | ${own.find((count) => count !== undefined) ?? ''} | ${cells.join(' | ')} |`;
  });
  return `${[head, rule, ...rows].join('\n')}\n`;
}
