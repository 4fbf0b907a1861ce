// SPDX-License-Identifier: Apache-2.0
// What the mesh has to reach against Envoy's TCP sidecars in the same run, and whether it does.
import type { Row } from './summary.ts';
import { envoyL4 } from './variants/envoy-l4.ts';

/** Whom goals are set against. */
export const rival: string = envoyL4.name;

/** One figure's goal, as a ratio to the rival within the same round. */
export interface Goal {
  readonly workload: string;
  readonly figure: string;
  readonly atMost?: number;
  readonly atLeast?: number;
}

/** All goals. Those of workloads that were not run are left out of a report. */
export const goals: readonly Goal[] = [
  { workload: 'rtt64', figure: 'added p50', atMost: 0.6 },
  { workload: 'http64', figure: 'rate', atLeast: 1.6 },
  { workload: 'http64', figure: 'proxy CPU', atMost: 0.33 },
  { workload: 'up1', figure: 'rate', atLeast: 1.1 },
  { workload: 'up1', figure: 'proxy CPU', atMost: 0.8 },
  { workload: 'down1', figure: 'rate', atLeast: 1.25 },
  { workload: 'down1', figure: 'proxy CPU', atMost: 0.6 },
  { workload: 'handshake32', figure: 'rate', atLeast: 5.5 },
  { workload: 'cached32', figure: 'rate', atLeast: 1.6 },
  { workload: 'cached32', figure: 'proxy CPU', atMost: 0.65 },
  { workload: 'cold32', figure: 'proxy CPU', atMost: 0.9 },
  { workload: 'resumed32', figure: 'rate', atLeast: 2.3 },
  { workload: 'resumed32', figure: 'proxy CPU', atMost: 0.4 },
];

/** A goal with what was reached: the median of the ratios. */
export interface Verdict extends Goal {
  readonly reached: number;
  readonly ok: boolean;
}

/** The verdicts on the goals whose figure was measured for `variant` and for the rival. */
export function verdictsOn(rows: readonly Row[], variant: string): Verdict[] {
  return goals.flatMap((goal) => {
    const row = rows.find((each) => {
      const { workload, figure } = each;
      return each.variant === variant && workload === goal.workload && figure === goal.figure;
    });
    const ratio = row?.ratios[rival];
    if (ratio === undefined) {
      return [];
    }
    const reached = ratio.median;
    const { atMost = Number.POSITIVE_INFINITY, atLeast = Number.NEGATIVE_INFINITY } = goal;
    return [{ ...goal, reached, ok: reached <= atMost && reached >= atLeast }];
  });
}
