// SPDX-License-Identifier: Apache-2.0
// Programs of bench/native that print a sample a line: built, run on one core, and read.
import { join } from 'node:path';
import type * as z from 'zod';
import { MeshError } from '../lib/error.ts';
import { mustRun } from '../lib/program.ts';

const root = join(import.meta.dirname, '../..');
const timeoutMs = 600_000;

/** Builds `program`, where that is needed. */
export async function buildNativeBench(program: string): Promise<void> {
  await mustRun('cmake', ['--build', join(root, 'build'), '--target', program], { timeoutMs });
}

/** Builds `program`, where that is needed, and answers what it prints on processor `core`. */
export async function runNativeBench(
  program: string,
  core: string,
  args: readonly number[],
): Promise<string> {
  await buildNativeBench(program);
  const command = ['-c', core, join(root, 'build/native', program), ...args.map(String)];
  return await mustRun('taskset', command, { timeoutMs });
}

/** Reads what `program` prints. Throws MeshError `invalid` when it is something else. */
export function sampleLinesIn<T>(program: string, lines: string, line: z.ZodType<T>): T[] {
  try {
    return lines
      .trim()
      .split('\n')
      .map((text) => line.parse(JSON.parse(text)));
  } catch (cause) {
    throw new MeshError('invalid', `${program} printed no samples`, { cause });
  }
}

/** A flag's value, from 1 to `max`. Throws MeshError `invalid` for anything else. */
export function positiveUpTo(max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < 1 || value > max) {
      throw new MeshError('invalid', `${text} is not a whole number from 1 to ${max}`);
    }
    return value;
  };
}
