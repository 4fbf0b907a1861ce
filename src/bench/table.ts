// SPDX-License-Identifier: Apache-2.0
// Results as text.
import type { Verdict } from './goals.ts';
import type { MemoryRow } from './memory.ts';
import type { Spread } from './statistics.ts';
import type { Row } from './summary.ts';
import { isMinimal, type SyscallRow } from './syscalls.ts';

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

/** Medians and ranges. */
export function tableOf(rows: readonly Row[]): string {
  const head = [
    'workload',
    'figure',
    'variant',
    'median (min..max)',
    'unit',
    'to bare',
    'to envoy',
  ];
  const cells = rows.map((row) => [
    ...[row.workload, row.figure, row.variant, range(row.spread), row.unit],
    ...[range(row.toBare), range(row.toRival)],
    row.disturbed === 0 ? '' : `disturbed: ${row.disturbed} of ${row.spread.n}`,
  ]);
  return columns([...head, ''], cells);
}

/** The goals, each with what was reached. */
export function goalsTable(verdicts: readonly Verdict[]): string {
  const head = ['', 'workload', 'figure', 'goal, to envoy', 'reached'];
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

/** Memory of each proxy. */
export function memoryTable(rows: readonly MemoryRow[]): string {
  const head = ['memory', 'proxy of', 'figure', 'KB'];
  return columns(
    head,
    rows.map(({ variant, node, figure, kb }) => [variant, node, figure, number(kb)]),
  );
}
