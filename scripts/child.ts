// SPDX-License-Identifier: Apache-2.0
// Runs a test program to its end, whatever that is.
import { spawn } from 'node:child_process';
import { setPriority } from 'node:os';
import type { Outcome } from './schedule.ts';
import { root } from './steps.ts';
import { failuresIn, sumOf, tallyOne, tallyTap } from './tally.ts';

/** Lines of a failed program's errors that are kept. */
const errorLinesMax = 60;

/** Niceness of what only computes, beside tests that wait for something and measure. */
export const yielding = 10;

/** What to run, and for how long at most. */
export interface Program {
  readonly file: string;
  readonly args: readonly string[];
  /** After this it is killed, and has failed. */
  readonly timeoutMs: number;
  /** Added to our own environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Added to the scheduling priority: above 0 it gives way to other programs. Default 0. */
  readonly niceness?: number;
}

/** How a program ended. */
export interface Ended {
  readonly stdout: string;
  /** The last lines of its standard error. */
  readonly errors: string;
  /** Why it did not end well; undefined for exit code 0. */
  readonly failure: string | undefined;
}

/** Runs `program` in the root of the clone. Never rejects. */
export function runToEnd(program: Program): Promise<Ended> {
  return new Promise((resolve) => {
    let stdout = '';
    let stderr = '';
    let late = false;
    const end = (failure: string | undefined): void => {
      clearTimeout(timer);
      const errors = stderr.trimEnd().split('\n').slice(-errorLinesMax).join('\n');
      resolve({ stdout, errors, failure });
    };
    const child = spawn(program.file, [...program.args], {
      cwd: root,
      env: { ...process.env, ...program.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
    }, program.timeoutMs);
    child.on('spawn', () => yieldTo(child.pid, program.niceness ?? 0));
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', (error) => end(error.message));
    child.on('close', (code, signal) => {
      if (late) {
        end(`not within ${program.timeoutMs / 1000} s`);
      } else {
        end(code === 0 ? undefined : signal === null ? `exit code ${code}` : `ended by ${signal}`);
      }
    });
  });
}

function yieldTo(pid: number | undefined, niceness: number): void {
  try {
    if (pid !== undefined && niceness > 0) {
      setPriority(pid, niceness);
    }
  } catch {
    // It has ended already.
  }
}

/**
 * What came of a program that reports in TAP. One that ends badly although no test point failed has
 * failed all the same.
 */
export function outcomeOf(ended: Ended, name: string): Outcome {
  const points = tallyTap(ended.stdout, name, name);
  const { failure } = ended;
  const tally =
    points.failed === 0 && failure !== undefined
      ? sumOf([points, tallyOne(name, failure)])
      : points;
  const why = failure === undefined ? [] : [`${name}: ${failure}`, ended.errors];
  const output = [failuresIn(ended.stdout), ...why].filter((text) => text !== '').join('\n');
  return { tally, output: tally.failed === 0 ? '' : output };
}
