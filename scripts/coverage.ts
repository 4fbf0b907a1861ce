// SPDX-License-Identifier: Apache-2.0
// How much of the TypeScript sources their own tests reach, by tap and its map (test/cover.mjs).
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { outcomeOf, runToEnd } from './child.ts';
import type { Job, Outcome } from './schedule.ts';
import { root } from './steps.ts';
import { filesOf, testFiles } from './typescript-tests.ts';

const timeoutMs = 900_000;

interface CoverMap {
  /** The source that a test may cover, or null. */
  readonly default: (test: string) => string | null;
}

/** Of these files of tests, those that mirror a source. */
export async function mirroring(files: readonly string[]): Promise<string[]> {
  const map = (await import(join(root, 'test/cover.mjs'))) as CoverMap;
  return files.filter((file) => map.default(file) !== null);
}

/** The table of a report, for its reader. */
export function tableIn(stdout: string): string {
  const lines = stdout.split('\n');
  return lines.filter((line) => /^[^|]+(\|[^|]+){5}$|^ERROR: Coverage/.test(line)).join('\n');
}

/**
 * Runs the tests that mirror a source: all of them, or those that `paths` name. It fails when one
 * does; and, for all of them, when they reach less than .taprc asks for.
 */
export function coverageJob(paths: readonly string[]): Job {
  const all = paths.length === 0;
  const run = async (): Promise<Outcome> => {
    const files = await mirroring(all ? testFiles() : filesOf(paths));
    const flags = ['run', '--reporter=tap', `--jobs=${availableParallelism()}`];
    const part = all ? [] : ['--allow-incomplete-coverage'];
    const ended = await runToEnd({
      file: join(root, 'node_modules/.bin/tap'),
      args: [...flags, ...part, ...files],
      timeoutMs,
      // Its own first line asks for "node", which must not be an older one of the system.
      env: { PATH: `${join(root, 'node_modules/.bin')}:${process.env['PATH'] ?? ''}` },
    });
    const { tally, output } = outcomeOf(ended, 'coverage');
    return { tally, output: `${output}\n${tableIn(ended.stdout)}`.trim() };
  };
  return { name: 'coverage', run };
}
