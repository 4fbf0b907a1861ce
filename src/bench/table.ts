// SPDX-License-Identifier: Apache-2.0
// Results as text.
import { boundOf, type Verdict } from './goals.ts';
import type { NotRun } from './rounds.ts';
import type { Spread } from './statistics.ts';
import { isMinimal, type SyscallRow } from './studies/syscalls.ts';
import type { Row } from './summary.ts';
import { referencesOf } from './variants/all.ts';
import type { Proof } from './verify.ts';

function number(value: number): string {
  return Math.abs(value) >= 1000 ? value.toFixed(0) : value.toPrecision(3);
}

function range(spread: Spread | undefined): string {
  return spread === undefined
    ? ''
    : `${number(spread.median)} (${number(spread.min)}..${number(spread.max)})`;
}

/** Rows of cells under a head, in columns. */
export function columns(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows];
  const widths = head.map((_, at) => Math.max(...all.map((row) => row[at]?.length ?? 0)));
  const lines = all.map((row) => {
    return row
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join('  ')
      .trimEnd();
  });
  return `${lines.join('\n')}\n`;
}

const keyOf = ({ workload, figure }: Pick<Row, 'workload' | 'figure'>): string =>
  `${workload} ${figure}`;

/** The rows of each figure, in order. */
function byFigure(rows: readonly Row[]): Row[][] {
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    groups.set(keyOf(row), [...(groups.get(keyOf(row)) ?? []), row]);
  }
  return [...groups.values()];
}

function isOut(notRun: readonly NotRun[], name: string, { workload }: Row): boolean {
  return notRun.some((each) => {
    return each.variant === name && (each.workload === undefined || each.workload === workload);
  });
}

function medianCell(row: Row | undefined): string {
  const star = row !== undefined && row.disturbed > 0 ? ' *' : '';
  const failures = row?.failures === undefined ? '' : ` ${row.failures} failed`;
  const short = row?.short === undefined ? '' : ` ${row.short} short`;
  return `${range(row?.spread)}${star}${failures}${short}`;
}

/**
 * Medians and ranges, a column for each variant. A star marks rounds that others disturbed; runs
 * that failed before one did not are counted, and rounds in which a load fell short of its rate.
 */
export function tableOf(
  rows: readonly Row[],
  variants: readonly string[],
  notRun: readonly NotRun[],
): string {
  const cells = byFigure(rows).flatMap((group) => {
    const [first] = group;
    if (first === undefined) {
      return [];
    }
    const medians = variants.map((name) => {
      const row = group.find(({ variant }) => variant === name);
      return row === undefined && isOut(notRun, name, first) ? 'not run' : medianCell(row);
    });
    return [[first.workload, first.figure, first.unit, ...medians]];
  });
  return columns(['workload', 'figure', 'unit', ...variants], cells);
}

/** Ratios of one variant to all that it is compared with, within rounds. */
export function ratiosTable(rows: readonly Row[], variant: string): string {
  const own = rows.filter((row) => row.variant === variant);
  const others = referencesOf(variant).filter((name) => own.some(({ ratios }) => name in ratios));
  const cells = own
    .filter(({ ratios }) => Object.keys(ratios).length > 0)
    .map((row) => [row.workload, row.figure, ...others.map((name) => range(row.ratios[name]))]);
  return columns([`${variant}, as a ratio to`, '', ...others], cells);
}

/** What was not run, and why: a line for each reason. */
export function notRunTable(notRun: readonly NotRun[]): string {
  const reasons = new Map<string, string[]>();
  for (const { variant, workload, why } of notRun) {
    const key = `${variant}: ${why}`;
    reasons.set(key, [...(reasons.get(key) ?? []), workload ?? 'everything']);
  }
  return Array.from(reasons, ([why, what]) => `not run: ${what.join(', ')} of ${why}\n`).join('');
}

/** The goals, each with what was reached. */
export function goalsTable(verdicts: readonly Verdict[]): string {
  const head = ['', 'variant', 'workload', 'figure', 'to', 'goal', 'reached'];
  const cells = verdicts.map((verdict) => {
    const { ok, variant, workload, figure, to = '', spread } = verdict;
    return [ok ? 'ok' : 'MISSED', variant, workload, figure, to, boundOf(verdict), range(spread)];
  });
  return columns(head, cells);
}

/** Calls of each proxy for one ping-pong; at the minimum there are two of each kind. */
export function syscallTable(rows: readonly SyscallRow[]): string {
  const head = ['for one ping-pong', 'proxy of', 'waits', 'reads', 'writes', 'others', ''];
  const cells = rows.map((row) => {
    const counts = [row.waits, row.reads, row.writes, row.others].map((count) => count.toFixed(2));
    return [row.variant, row.node, ...counts, isMinimal(row) ? 'minimal' : ''];
  });
  return columns(head, cells);
}

/** What was seen of each variant before it was measured. */
export function proofTable(proofs: readonly Proof[]): string {
  const head = ['variant', 'requests readable on the link', 'TLS', 'certificate at the far end'];
  const cells = proofs.map(({ variant, requests, readable, tls = 'none', peer = '' }) => {
    return [variant, `${readable} of ${requests}`, tls, peer];
  });
  return columns(head, cells);
}
