// SPDX-License-Identifier: Apache-2.0
// Parts of a test run that build programs in C++, and run those that report in TAP.
import { join } from 'node:path';
import { MeshError } from '../src/lib/error.ts';
import { buildLane, type Lane } from './build.ts';
import { yielding as niceness, outcomeOf, runToEnd } from './child.ts';
import type { Build, Job } from './schedule.ts';
import { root } from './steps.ts';
import { sumOf, tallyOne } from './tally.ts';

// Under ThreadSanitizer, giving way to all other lanes, they took over five minutes.
const unitTimeoutMs = 1_200_000;

/** A part that builds `what`, and the parts that need it. */
export function buildJob(what: string, build: () => Promise<unknown>, then: readonly Job[]): Build {
  const name = `build of ${what}`;
  return {
    name,
    // A build is no test point; one that fails is.
    run: () =>
      build().then(
        () => ({ tally: sumOf([]), output: '' }),
        (error: unknown) => ({
          tally: tallyOne(name, 'failed'),
          output: MeshError.from(error).message,
        }),
      ),
    then,
  };
}

/** A part that builds `targets` of a lane, and the parts that need them. */
export function laneJob(
  lane: Lane,
  prefix: string,
  targets: readonly string[],
  then: readonly Job[],
): Build {
  return buildJob(lane.name, () => buildLane(lane, prefix, targets), then);
}

/** Tests that a program is not asked for, and the reason, which the report of a run has. */
export interface LeftOut {
  /** A pattern of titles, without a comma. */
  readonly tests: string;
  readonly why: string;
}

/** A program of unit tests. */
export interface TapProgram {
  readonly name: string;
  /** Relative to build/. */
  readonly path: string;
  readonly args?: readonly string[];
  /** What it is run by: a command and its first arguments. */
  readonly emulator?: readonly string[];
  readonly leftOut?: readonly LeftOut[];
  /** Goes before it. What it lacks fails a test of the program, which tells that it is missing. */
  readonly prepare?: () => Promise<unknown>;
}

const excluding = (leftOut: readonly LeftOut[]): string[] =>
  leftOut.length === 0
    ? []
    : [`--test-case-exclude=${leftOut.map(({ tests }) => tests).join(',')}`];

/** Emulated processors have no AVX-512: who asks for it has the tests in their own mode there. */
function environmentOf(emulator: TapProgram['emulator']): Record<string, string> {
  const lacksIt = emulator !== undefined && process.env['WEFT_CRYPTO'] === 'avx512';
  return lacksIt ? { WEFT_CRYPTO: '' } : {};
}

/** A part that runs a program of unit tests. */
export function tapJob(tap: TapProgram): Job {
  const { name, leftOut = [] } = tap;
  const command = [...(tap.emulator ?? []), join(root, 'build', tap.path)];
  const [file = '', ...first] = command;
  const args = [...first, ...(tap.args ?? []), ...excluding(leftOut)];
  const skipped = leftOut.map(({ tests, why }) => `${name} > ${tests}: ${why}`);
  return {
    name,
    run: async () => {
      const why = await (tap.prepare?.() ?? Promise.resolve()).then(
        () => '',
        (error: unknown) => `${MeshError.from(error).message}\n`,
      );
      const env = environmentOf(tap.emulator);
      const program = { file, args, env, timeoutMs: unitTimeoutMs, niceness };
      const outcome = outcomeOf(await runToEnd(program), name);
      const tally = sumOf([outcome.tally, { passed: 0, failed: 0, failures: [], skipped }]);
      return { tally, output: `${why}${outcome.output}` };
    },
  };
}
