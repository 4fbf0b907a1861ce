// SPDX-License-Identifier: Apache-2.0
// What is measured: everything, or what shows most in a few minutes.
import { canCarry } from './rounds.ts';
import { neighbourStudy } from './studies/neighbour.ts';
import { changesOf, meshSizes, propagationStudy } from './studies/propagation.ts';
import { feelsStorm, storms } from './studies/storm.ts';
import { allVariants } from './variants/all.ts';
import { bare } from './variants/bare.ts';
import { envoyL4 } from './variants/envoy-l4.ts';
import { envoyL7 } from './variants/envoy-l7.ts';
import { weft } from './variants/weft.ts';
import { workloads } from './workloads.ts';

/** What is not a load, and measured in a way of its own. */
const studies: readonly string[] = [
  ...['syscalls', 'memory', neighbourStudy],
  ...storms.map(({ name }) => name),
  propagationStudy,
];

/** The names of all workloads and studies. */
export const workloadNames: readonly string[] = [...workloads.map(({ name }) => name), ...studies];

/** The names of all variants. */
export const variantNames: readonly string[] = allVariants.map(({ name }) => name);

/** A selection. */
export interface Plan {
  readonly variants: readonly string[];
  readonly workloads: readonly string[];
  readonly rounds: number;
  readonly seconds: number;
}

/** Four variants and four workloads. */
export const quick: Plan = {
  variants: [bare, weft, envoyL4, envoyL7].map(({ name }) => name),
  workloads: ['rtt64', 'http64', 'down1', 'crr32'],
  rounds: 5,
  seconds: 3,
};

/** Everything. */
export const full: Plan = {
  variants: variantNames,
  workloads: workloadNames,
  rounds: 5,
  seconds: 3,
};

/** Steps of a progress bar: a measurement each. What a variant cannot carry is none. */
export function stepsOf(plan: Plan): number {
  const has = (name: string): boolean => plan.workloads.includes(name);
  const variants = allVariants.filter(({ name }) => plan.variants.includes(name));
  const loads = workloads.filter(({ name }) => has(name));
  const pairs = variants.flatMap((variant) => loads.filter((load) => canCarry(variant, load)));
  const able = variants.filter((each) => each.carries === 'tcp' && each.tierOf === undefined);
  const stormed = storms.filter(({ name }) => has(name)).length;
  const proxied = able.filter((each) => each !== bare);
  return (
    plan.rounds * (pairs.length + (has(neighbourStudy) ? able.length : 0)) +
    plan.rounds * stormed * variants.filter(feelsStorm).length +
    (has('syscalls') ? proxied.length : 0) +
    (has('memory') ? able.length : 0) +
    (has(propagationStudy) && variants.includes(weft) ? meshSizes.length * changesOf : 0)
  );
}
