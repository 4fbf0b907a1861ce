// SPDX-License-Identifier: Apache-2.0
// Stands in for what builds a native program and for what runs it, so that a test sees both asked
// for without a minute of measuring.
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** What was started, and a PATH on which it is. */
export interface NativeBench {
  readonly path: string;
  /** Command lines so far, each a program with its arguments. */
  started(): string[];
}

/**
 * In `folder`, a `cmake` that builds nothing and a `taskset` that runs nothing and prints `lines`, or
 * what `linesOf` has for the program.
 */
export function standInForNativeBench(
  folder: string,
  lines: string,
  linesOf: Readonly<Record<string, string>> = {},
): NativeBench {
  const log = join(folder, 'started');
  writeFileSync(log, '');
  for (const [name, own] of Object.entries(linesOf)) {
    writeFileSync(join(folder, `lines-${name}`), own);
  }
  const all = join(folder, 'lines');
  writeFileSync(all, lines);
  for (const [program, then] of [
    ['cmake', ''],
    ['taskset', `own=${all}-$(basename "$3")\ncat "$own" 2>/dev/null || cat ${all}\n`],
  ] as const) {
    const file = join(folder, program);
    writeFileSync(file, `#!/bin/sh\necho ${program} "$@" >>${log}\n${then}`);
    chmodSync(file, 0o755);
  }
  return {
    path: `${folder}:${process.env['PATH'] ?? ''}`,
    started: () => readFileSync(log, 'utf8').trim().split('\n'),
  };
}
