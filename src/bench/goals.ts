// SPDX-License-Identifier: Apache-2.0
// What the mesh has to reach against other ways in the same run, and whether it does.
import type { Spread } from './statistics.ts';
import { stormFigures } from './studies/storm.ts';
import type { Row } from './summary.ts';
import { bare } from './variants/bare.ts';
import { envoyL4 } from './variants/envoy-l4.ts';
import type { Variant } from './variants/variant.ts';
import { weft, weftDirect, weftNft } from './variants/weft.ts';

/** One figure's goal: for the figure itself, or for its ratio to another variant in the same round. */
export interface Goal {
  /** Whose figure it is. */
  readonly variant: string;
  readonly workload: string;
  readonly figure: string;
  /** Whom the ratio is taken to; absent where the figure itself is meant. */
  readonly to?: string | undefined;
  readonly atMost?: number | undefined;
  readonly atLeast?: number | undefined;
}

/** What has to be reached, in words. */
export function boundOf({ atMost, atLeast }: Goal): string {
  return atMost === undefined ? `at least ${atLeast}` : `at most ${atMost}`;
}

type Bound = readonly [
  workload: string,
  figure: string,
  bound: { atMost: number } | { atLeast: number },
];

function goalsOf(
  { name: variant }: Variant,
  to: Variant | undefined,
  bounds: readonly Bound[],
): Goal[] {
  const against = to === undefined ? {} : { to: to.name };
  return bounds.map(([workload, figure, bound]) => {
    return { variant, workload, figure, ...against, ...bound };
  });
}

/** All goals. Those of workloads and variants that were not run are left out of a report. */
export const goals: readonly Goal[] = [
  ...goalsOf(weft, envoyL4, [
    ['rtt64', 'added p50', { atMost: 0.6 }],
    ['rtt64', 'added p50', { atMost: 0.4 }], // The most that is hoped for.
    ['http64', 'rate', { atLeast: 1.6 }],
    ['http64', 'proxy CPU', { atMost: 0.33 }],
    ['up1', 'rate', { atLeast: 1.1 }],
    ['up1', 'proxy CPU', { atMost: 0.8 }],
    ['down1', 'rate', { atLeast: 1.25 }],
    ['down1', 'proxy CPU', { atMost: 0.6 }],
    ['handshake32', 'rate', { atLeast: 5.5 }],
    ['cached32', 'rate', { atLeast: 1.6 }],
    ['cached32', 'rate', { atLeast: 2.6 }], // Where handshakes go in lanes.
    ['cached32', 'proxy CPU', { atMost: 0.65 }],
    ['cold32', 'proxy CPU', { atMost: 0.9 }],
    ['resumed32', 'rate', { atLeast: 2.3 }],
    ['resumed32', 'rate', { atLeast: 3.3 }], // Where handshakes go in lanes.
    ['resumed32', 'proxy CPU', { atMost: 0.4 }],
  ]),
  ...goalsOf(weft, weftNft, [
    ['rtt64', 'p50', { atMost: 1 }],
    ['up1', 'rate', { atLeast: 1.2 }],
    ['crr32', 'rate', { atLeast: 1 }],
    ['crr32', 'proxy CPU', { atMost: 1 }],
  ]),
  ...goalsOf(weftDirect, bare, [
    ['local-rtt64', 'p50', { atMost: 1.03 }],
    ['local-rtt64', 'p99', { atMost: 1.03 }],
    ['local-down1', 'rate', { atLeast: 0.95 }],
    ['local-crr32', 'rate', { atLeast: 0.9 }],
  ]),
  ...goalsOf(weftDirect, weft, [['local-rtt64', 'p50', { atMost: 0.7 }]]),
  ...goalsOf(weft, undefined, [['storm2000', stormFigures.ratio, { atMost: 1.5 }]]),
];

/** A goal with what was reached: it holds for the median, and beside a load that was short it does not. */
export interface Verdict extends Goal {
  readonly spread: Spread;
  readonly ok: boolean;
}

/** The verdicts on the goals whose figure was measured, for both variants if there are two. */
export function verdictsOn(rows: readonly Row[]): Verdict[] {
  return goals.flatMap((goal) => {
    const row = rows.find(({ variant, workload, figure }) => {
      return variant === goal.variant && workload === goal.workload && figure === goal.figure;
    });
    const spread = goal.to === undefined ? row?.spread : row?.ratios[goal.to];
    if (spread === undefined) {
      return [];
    }
    const { atMost = Number.POSITIVE_INFINITY, atLeast = Number.NEGATIVE_INFINITY } = goal;
    const isHeld = spread.median <= atMost && spread.median >= atLeast;
    return [{ ...goal, spread, ok: isHeld && row?.short === undefined }];
  });
}
