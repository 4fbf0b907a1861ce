// SPDX-License-Identifier: Apache-2.0

/** One thing that the demo shows. */
export interface Row {
  readonly name: string;
  readonly expected: string;
  readonly seen: string;
  /** By what it was measured. */
  readonly how: string;
  readonly ok: boolean;
}

/** The outcome of a lab. */
export interface Report {
  readonly ok: boolean;
  readonly rows: readonly Row[];
}

/** A report holds when there are rows and all of them hold. */
export function reportOf(rows: readonly Row[]): Report {
  return { ok: rows.length > 0 && rows.every((row) => row.ok), rows };
}

const columns = ['name', 'expected', 'seen', 'how'] as const;
const widthMax = 46;

function wrap(text: string, width: number): string[] {
  const lines: string[] = [''];
  for (const word of text.split(/\s+/)) {
    const last = lines.length - 1;
    const joined = lines[last] === '' ? word : `${lines[last]} ${word}`;
    if (joined.length <= width || lines[last] === '') {
      lines[last] = joined;
    } else {
      lines.push(word);
    }
  }
  return lines;
}

/** The report as a table for a terminal; the first column says whether a row holds. */
export function tableOf(report: Report): string {
  const head = { name: 'what', expected: 'expected', seen: 'seen', how: 'seen by' };
  const cells = [head, ...report.rows].map((row) => columns.map((key) => wrap(row[key], widthMax)));
  const widths = columns.map((_, index) => {
    return Math.max(...cells.flatMap((row) => (row[index] ?? []).map((line) => line.length)));
  });
  const marks = ['    ', ...report.rows.map((row) => (row.ok ? 'ok  ' : 'FAIL'))];
  const lines = cells.flatMap((row, at) => {
    const height = Math.max(...row.map((cell) => cell.length));
    return Array.from({ length: height }, (_, line) => {
      const texts = row.map((cell, index) => (cell[line] ?? '').padEnd(widths[index] ?? 0));
      return `${line === 0 ? marks[at] : '    '}  ${texts.join('  ')}`.trimEnd();
    });
  });
  return `${lines.join('\n')}\n`;
}
