// SPDX-License-Identifier: Apache-2.0
// The parts of a test run that are TypeScript: each file of test/ is a program that prints TAP.
import { globSync } from 'node:fs';
import { join, normalize } from 'node:path';
import { MeshError } from '../src/lib/error.ts';
import { outcomeOf, runToEnd, yielding } from './child.ts';
import type { Job } from './schedule.ts';
import { root } from './steps.ts';

/** Folders of test/ that hold no tests. */
const notTests = ['test/support/', 'test/fixtures/'];

/**
 * Files that mostly wait: for labs to be built, and for processes to die and come back. They take
 * long and compute little, so they go beside everything else. The longest stand first.
 */
export const waiting: readonly string[] = [
  'test/src/lab/demo.ts',
  'test/src/lab/main.ts',
  'test/integration/trust/rotation.ts',
  'test/src/lab/demo-survival.ts',
  'test/integration/kernel/kill.ts',
  'test/integration/bench.ts',
];

/** Fuzzers in TypeScript: they compute for a set time, and give way to the others. */
export const fuzzers: readonly string[] = [
  'test/ztunnel/dns/message/hostile-queries.ts',
  'test/ztunnel/zds/hostile-packets.ts',
];

/** Files that measure how much a thing takes: nothing goes beside them. */
export const alone: readonly string[] = ['test/integration/abuse/crowd.ts'];

/** The longest of the other files; they go first among these. */
export const long: readonly string[] = [
  'test/integration/library-rows.ts',
  'test/scripts/bpf.ts',
  'test/integration/kernel-rows.ts',
  'test/integration/chaos/kill.ts',
  'test/integration/kernel/crowd.ts',
  'test/src/control/main.ts',
  'test/integration/trust/deny-list.ts',
  'test/integration/trust/outage.ts',
];

// A test ends itself, and says what it waited for; this is for one that cannot.
const fileTimeoutMs = 1_000_000;
// How long a file may take that does not say it itself: several share the machine.
const tapSeconds = 120;

const isTest = (path: string): boolean => !notTests.some((folder) => path.startsWith(folder));

/** All files of tests, relative to the root. */
export function testFiles(): string[] {
  return globSync('test/**/*.ts', { cwd: root }).filter(isTest).sort();
}

/**
 * The files of tests that `paths` name: files, or folders with all that is in them. Throws MeshError
 * `invalid` for a path that names none.
 */
export function filesOf(paths: readonly string[]): string[] {
  const all = testFiles();
  const found = paths.flatMap((path) => {
    const wanted = normalize(path).replace(/\/$/, '');
    const under = all.filter((file) => file === wanted || file.startsWith(`${wanted}/`));
    if (under.length === 0) {
      throw new MeshError('invalid', `${path} names no test`);
    }
    return under;
  });
  return [...new Set(found)];
}

/** A file's place among the others of its kind: that of `order`, and the rest after these. */
function sortedBy(order: readonly string[], files: readonly string[]): string[] {
  const rank = (file: string): number =>
    order.includes(file) ? order.indexOf(file) : order.length;
  return [...files].sort((a, b) => rank(a) - rank(b));
}

/**
 * The job of one file, named as it is; a path relative to the root, or an absolute one. One that
 * does not end within `timeoutMs` is killed and has failed.
 */
export function fileJob(file: string, niceness = 0, timeoutMs: number = fileTimeoutMs): Job {
  const program = {
    file: process.execPath,
    args: [file],
    timeoutMs,
    niceness,
    // What they start by the name of "node" must not be an older one of the system.
    env: {
      PATH: `${join(root, 'node_modules/.bin')}:${process.env['PATH'] ?? ''}`,
      TAP_TIMEOUT: String(tapSeconds),
    },
  };
  return { name: file, run: async () => outcomeOf(await runToEnd(program), file) };
}

/** The jobs of some files, by what they may be run beside. */
export interface FileJobs {
  readonly waiting: readonly Job[];
  readonly fuzzers: readonly Job[];
  readonly others: readonly Job[];
  readonly alone: readonly Job[];
}

/** Sorts files into what may go beside what, the long ones first. Each is in one list. */
export function fileJobs(files: readonly string[]): FileJobs {
  const special = [...waiting, ...fuzzers, ...alone];
  const listed = (list: readonly string[], niceness = 0): Job[] =>
    list.filter((file) => files.includes(file)).map((file) => fileJob(file, niceness));
  const others = files.filter((file) => !special.includes(file));
  return {
    waiting: listed(waiting),
    fuzzers: listed(fuzzers, yielding),
    others: sortedBy(long, others).map((file) => fileJob(file)),
    alone: listed(alone),
  };
}
