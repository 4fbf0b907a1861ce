// SPDX-License-Identifier: Apache-2.0
// Two files of results side by side: what changed, and whether that can be chance.
import type { Result, ResultsFile } from '../results.ts';

/** One figure in both files. */
export interface Change {
  readonly variant: string;
  readonly workload: string;
  readonly metric: string;
  readonly unit: string;
  readonly before: number;
  readonly after: number;
  /** Rounds that rose and that fell, and the probability of a split so uneven by chance. */
  readonly rose: number;
  readonly fell: number;
  readonly probability: number;
}

/**
 * The two-sided sign test: the probability that of `rose` + `fell` throws of a coin the rarer side
 * shows no more often than here. 1 without throws.
 */
export function signTest(rose: number, fell: number): number {
  const n = rose + fell;
  let term = 0.5 ** n;
  let tail = 0;
  for (let k = 0; k <= Math.min(rose, fell); k++) {
    tail += term;
    term *= (n - k) / (k + 1);
  }
  return Math.min(1, 2 * tail);
}

const keyOf = ({ variant, workload, metric, unit }: Result): string =>
  [variant, workload, metric, unit].join('\n');

// To the bare link of the same round, where there is one: two days differ in more than the mesh.
function series(result: Result, all: ReadonlyMap<string, Result>): Map<string, number> {
  const bare = all.get(keyOf({ ...result, variant: 'bare' }));
  const own = Object.entries(result.rounds);
  const values = own.flatMap(([round, value]): [string, number][] => {
    const base = result.variant === 'bare' ? 1 : bare === undefined ? 1 : bare.rounds[round];
    return base === undefined || base === 0 ? [] : [[round, value / base]];
  });
  return new Map(values);
}

/**
 * Compares what both files have, round by round: the first with the first, and so on, each as the
 * ratio to the bare link where there is one. What is likeliest not chance comes first.
 */
export function compare(before: ResultsFile, after: ResultsFile): Change[] {
  const [old, fresh] = [before, after].map(
    ({ results }) => new Map(results.map((each) => [keyOf(each), each])),
  ) as [Map<string, Result>, Map<string, Result>];
  const changes: Change[] = [];
  for (const [key, now] of fresh) {
    const then = old.get(key);
    if (then !== undefined) {
      const [a, b] = [series(then, old), series(now, fresh)];
      const pairs = [...b].flatMap(([round, value]) => {
        const base = a.get(round);
        return base === undefined ? [] : [value - base];
      });
      const rose = pairs.filter((step) => step > 0).length;
      const fell = pairs.filter((step) => step < 0).length;
      const { variant, workload, metric, unit } = now;
      const names = { variant, workload, metric, unit };
      const probability = signTest(rose, fell);
      changes.push({ ...names, before: then.median, after: now.median, rose, fell, probability });
    }
  }
  return changes.sort((x, y) => x.probability - y.probability);
}
