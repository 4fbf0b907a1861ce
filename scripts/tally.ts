// SPDX-License-Identifier: Apache-2.0
import { Parser, type Result } from 'tap-parser';

/** Test points of one run, counted at the leaves: a subtest's own summary line is not one. */
export interface Tally {
  readonly passed: number;
  readonly failed: number;
  /** Full names of what failed. */
  readonly failures: readonly string[];
  /** "name: reason" of what was skipped; these count neither way. */
  readonly skipped: readonly string[];
}

interface Counts {
  passed: number;
  failures: string[];
  skipped: string[];
}

const noReason = 'no reason given';

function take(result: Result, path: string, counts: Counts): void {
  const name = [path, result.name].filter((part) => part !== '').join(' > ');
  const skip = result.skip || result.todo;
  if (skip) {
    counts.skipped.push(`${name}: ${skip === true ? noReason : skip}`);
  } else if (result.ok) {
    counts.passed += 1;
  } else {
    counts.failures.push(name);
  }
}

function count(parser: Parser, path: string, counts: Counts): void {
  let failuresBefore: number | undefined;
  parser.on('child', (child: Parser) => {
    failuresBefore = counts.failures.length;
    count(child, [path, child.name].filter((part) => part !== '').join(' > '), counts);
  });
  parser.on('assert', (result: Result) => {
    const isSummary = failuresBefore !== undefined;
    // A subtest fails without a failing leaf when it crashed, timed out or broke its plan.
    const failedItself = !result.ok && counts.failures.length === failuresBefore;
    failuresBefore = undefined;
    if (!isSummary || failedItself) {
      take(result, path, counts);
    }
  });
}

/**
 * Counts what a complete TAP stream says. A stream that breaks off, has no plan or breaks its plan
 * counts as one failure more, under `source`. All names begin with `path`.
 */
export function tallyTap(tap: string, source: string, path = ''): Tally {
  const counts: Counts = { passed: 0, failures: [], skipped: [] };
  const parser = new Parser();
  count(parser, path, counts);
  let complete = false;
  parser.on('complete', (results) => {
    complete = results.ok || counts.failures.length > 0;
  });
  parser.end(tap);
  // The parser takes an empty stream for a run of nothing.
  complete &&= /^1\.\.\d/m.test(tap);
  if (!complete) {
    counts.failures.push(`${source}: its report is incomplete`);
  }
  const { passed, failures, skipped } = counts;
  return { passed, failed: failures.length, failures, skipped };
}

/** The lines of a TAP stream that say what failed and why, each with the tests it is in. */
export function failuresIn(tap: string): string {
  let failing = false;
  const isFailing = (line: string): boolean => {
    if (/^\s*(not )?ok\b|^\s*# Subtest|^\s*1\.\.\d/.test(line)) {
      failing = /^\s*not ok\b/.test(line);
    }
    return failing;
  };
  return tap.split('\n').filter(isFailing).join('\n');
}

/** A run of a program that is one test point in itself, such as a fuzzer. */
export function tallyOne(name: string, failure: string | undefined): Tally {
  return failure === undefined
    ? { passed: 1, failed: 0, failures: [], skipped: [] }
    : { passed: 0, failed: 1, failures: [`${name}: ${failure}`], skipped: [] };
}

/** The sum of several runs. */
export function sumOf(tallies: readonly Tally[]): Tally {
  return {
    passed: tallies.reduce((sum, tally) => sum + tally.passed, 0),
    failed: tallies.reduce((sum, tally) => sum + tally.failed, 0),
    failures: tallies.flatMap(({ failures }) => failures),
    skipped: tallies.flatMap(({ skipped }) => skipped),
  };
}

/** What ends a test run: reasons of skips, names of failures, and the line with the counts. */
export function reportOf(tally: Tally): string {
  const skipped = tally.skipped.map((line) => `skipped: ${line}\n`);
  const failures = tally.failures.map((line) => `failed: ${line}\n`);
  return [...skipped, ...failures, `${tally.passed} passed, ${tally.failed} failed\n`].join('');
}
