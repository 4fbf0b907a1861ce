// SPDX-License-Identifier: Apache-2.0
// Results as text.
import { rival, type Verdict } from './goals.ts';
import type { NotRun } from './rounds.ts';
import type { Spread } from './statistics.ts';
import { isMinimal, type SyscallRow } from './studies/syscalls.ts';
import type { Row } from './summary.ts';
import { rivals } from './variants/all.ts';
import { bare } from './variants/bare.ts';
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

/** Medians and ranges; and, where a variant did not run, why. */
export function tableOf(rows: readonly Row[], notRun: readonly NotRun[]): string {
  const others = [bare.name, ...rivals].filter((name) => rows.some(({ ratios }) => name in ratios));
  const head = ['workload', 'figure', 'variant', 'median (min..max)', 'unit'];
  const cells = rows.map((row) => [
    ...[row.workload, row.figure, row.variant, range(row.spread), row.unit],
    ...others.map((name) => range(row.ratios[name])),
    row.disturbed === 0 ? '' : `disturbed: ${row.disturbed} of ${row.spread.n}`,
  ]);
  const empty = notRun.map(({ workload = 'all', variant, why }) => {
    return [workload, '', variant, `not run: ${why}`];
  });
  return columns([...head, ...others.map((name) => `to ${name}`), ''], [...cells, ...empty]);
}

/** The goals, each with what was reached. */
export function goalsTable(verdicts: readonly Verdict[]): string {
  const head = ['', 'workload', 'figure', `goal, to ${rival}`, 'reached'];
  const cells = verdicts.map(({ ok, workload, figure, atMost, atLeast, reached }) => {
    const goal = atMost === undefined ? `at least ${atLeast}` : `at most ${atMost}`;
    return [ok ? 'ok' : 'MISSED', workload, figure, goal, number(reached)];
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
