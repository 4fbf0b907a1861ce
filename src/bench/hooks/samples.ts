// SPDX-License-Identifier: Apache-2.0
// What connections cost in the kernel's programs: samples of bench_hooks, and what is made of them.
import { z } from 'zod';
import { sampleLinesIn } from '../native-bench.ts';
import { type Spread, spreadOf } from '../statistics.ts';

const runs = z.object({ runs: z.int().positive(), ns: z.int() });
const sampleLine = z.object({
  way: z.string(),
  family: z.enum(['IPv4', 'IPv6']),
  connections: z.int().positive(),
  micros: z.number().positive(),
  clockNs: z.number().positive(),
  programs: z.record(z.string(), runs),
});

/** Some connections that went one way, in one round. */
export interface HookSample {
  readonly way: string;
  readonly family: string;
  readonly connections: number;
  /** From the first to the last. */
  readonly micros: number;
  /** Nanoseconds of each run of a program that are the clock's own. */
  readonly clockNs: number;
  /** How often each program ran, and for how long in all. */
  readonly programs: Readonly<Record<string, { readonly runs: number; readonly ns: number }>>;
}

/** Reads what bench_hooks prints. Throws MeshError `invalid` when it is something else. */
export function samplesIn(lines: string): HookSample[] {
  return sampleLinesIn('bench_hooks', lines, sampleLine);
}

/** One program, for connections that go one way. */
export interface HookFigure {
  readonly program: string;
  /** For each connection. */
  readonly runs: Spread;
  /** Of one run, the clock's own time included. */
  readonly ns: Spread;
}

/** One way. */
export interface WayFigures {
  readonly way: string;
  readonly family: string;
  readonly programs: readonly HookFigure[];
  /** Nanoseconds in all programs for each connection, the clock's own time taken off. */
  readonly ns: Spread;
  /** Microseconds from the start of one connection to that of the next. */
  readonly micros: Spread;
  /** Nanoseconds of each run that are the clock's own. */
  readonly clockNs: Spread;
}

function figuresOf(samples: readonly HookSample[], program: string): HookFigure {
  const of = samples.flatMap(({ connections, programs }) => {
    const own = programs[program];
    return own === undefined ? [] : [{ ...own, connections }];
  });
  return {
    program,
    runs: spreadOf(of.map((each) => each.runs / each.connections)),
    ns: spreadOf(of.map((each) => each.ns / each.runs)),
  };
}

function nsOf({ connections, clockNs, programs }: HookSample): number {
  const all = Object.values(programs).map((each) => each.ns - each.runs * clockNs);
  return all.reduce((sum, ns) => sum + ns, 0) / connections;
}

/** Every way, in the order of the samples; spreads are over rounds. */
export function waysOf(samples: readonly HookSample[]): WayFigures[] {
  const groups = Map.groupBy(samples, ({ way, family }) => `${way}, ${family}`);
  return [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) {
      return [];
    }
    const names = [...new Set(group.flatMap(({ programs }) => Object.keys(programs)))].sort();
    return {
      way: first.way,
      family: first.family,
      programs: names.map((name) => figuresOf(group, name)),
      ns: spreadOf(group.map(nsOf)),
      micros: spreadOf(group.map(({ micros, connections }) => micros / connections)),
      clockNs: spreadOf(group.map(({ clockNs }) => clockNs)),
    };
  });
}

const plain = (value: number): string => value.toFixed(0);
const count = (value: number): string => value.toFixed(Number.isInteger(value) ? 0 : 1);
/** A hook has a program for each family; a listener of both may run either. */
const hookOf = ({ program }: HookFigure): string => program.replace(/^weft_|[46]$/g, '');

/** "12 x 345": how often a hook runs for a connection, and nanoseconds of one run. */
function cellOf({ programs }: WayFigures, hook: string): string {
  const own = programs.filter((each) => hookOf(each) === hook);
  const runs = own.reduce((sum, each) => sum + each.runs.median, 0);
  const ns = own.reduce((sum, each) => sum + each.runs.median * each.ns.median, 0);
  return runs === 0 ? '' : `${count(runs)} x ${plain(ns / runs)}`;
}

/** The figures as a table of Markdown: a row for each way and family, a column for each hook. */
export function hooksTable(ways: readonly WayFigures[]): string {
  const hooks = [...new Set(ways.flatMap(({ programs }) => programs.map(hookOf)))].sort();
  const head = [
    'way',
    ...hooks.map((hook) => `\`${hook}\``),
    'the clock',
    'hooks, together',
    'all of it',
  ];
  const rows = ways.map((each) => {
    const { median, min, max } = each.ns;
    return [
      `${each.way}, ${each.family}`,
      ...hooks.map((hook) => cellOf(each, hook)),
      `${plain(each.clockNs.median)} ns`,
      `${plain(median)} ns (${plain(min)}..${plain(max)})`,
      `${each.micros.median.toFixed(1)} us`,
    ];
  });
  const lines = [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`);
  return `${lines.join('\n')}\n`;
}
