// SPDX-License-Identifier: Apache-2.0
// A kernel whose verifier refuses some of our programs, for processes that are started with the
// environment that this makes. Needs a C compiler.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { mustRun } from '../../src/lib/program.ts';

/** Which are refused: those that use one of these maps, and those of these names. */
export interface Refused {
  readonly maps?: readonly string[];
  /** At most 15 characters of each, since the kernel knows no more. */
  readonly programs?: readonly string[];
}

const source = join(import.meta.dirname, 'refuse_bpf.c');

/** What a verifier says of each of them. */
export const refusal: RegExp = /invalid bpf_context access off=32760 size=4/;

/** Makes such kernels, for as long as the test goes. */
export async function refusingKernel(
  test: Pick<Test, 'teardown'>,
): Promise<(refused: Refused) => Record<string, string>> {
  const folder = mkdtempSync(join(tmpdir(), 'weft-refuse-'));
  test.teardown(() => rmSync(folder, { recursive: true }));
  const preload = join(folder, 'refuse_bpf.so');
  await mustRun('cc', ['-shared', '-fPIC', '-O1', '-o', preload, source, '-ldl']);
  return ({ maps = [], programs = [] }) => ({
    LD_PRELOAD: preload,
    REFUSE_MAPS: maps.join(' '),
    REFUSE_PROGRAMS: programs.join(' '),
  });
}
