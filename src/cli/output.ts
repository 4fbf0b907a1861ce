// SPDX-License-Identifier: Apache-2.0
// How verbs print: tables for people, one JSON object for programs.
import { type Command, CommanderError, Option } from 'commander';

/** The two forms. */
export type OutputForm = 'table' | 'json';

/** Where verbs print; a test gives its own. */
export type Print = (text: string) => void;

/** Prints to standard output. */
export const toStdout: Print = (text) => {
  process.stdout.write(text);
};

/** Adds `-o`. */
export function withOutputFlag(command: Command): Command {
  const option = new Option('-o, --output <form>', 'how to print').choices(['table', 'json']);
  return command.addOption(option.default('table'));
}

/** A table: columns as wide as their widest cell; cells of control characters are made harmless. */
export function tableOf(head: readonly string[], rows: readonly (readonly string[])[]): string {
  // What comes from the mesh must not move the terminal's cursor.
  const clean = (cell: string): string => cell.replace(/\p{Cc}/gu, '?');
  const lines = [head, ...rows.map((row) => row.map(clean))];
  const widths = head.map((_, column) => Math.max(...lines.map((row) => row[column]?.length ?? 0)));
  return lines
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join('');
}

/**
 * Runs a command of commander whose action answers the exit code. Asked for help it answers 0, for
 * bad usage 2; what the action throws goes on.
 */
export async function runCommand(
  command: Command,
  argv: readonly string[],
  code: () => number,
): Promise<number> {
  try {
    await command.exitOverride().parseAsync([...argv], { from: 'user' });
    return code();
  } catch (error) {
    if (error instanceof CommanderError) {
      return error.exitCode === 0 ? 0 : 2;
    }
    throw error;
  }
}

/** A duration for people. */
export function durationText(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  const units: [number, string][] = [
    [86_400, 'd'],
    [3_600, 'h'],
    [60, 'm'],
  ];
  const unit = units.find(([size]) => seconds >= 2 * size);
  return unit === undefined ? `${seconds}s` : `${Math.floor(seconds / unit[0])}${unit[1]}`;
}

/** A number of bytes for people. */
export function bytesText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  const value = bytes / 1024 ** power;
  return `${power === 0 ? value : value.toFixed(1)} ${units[power]}`;
}
