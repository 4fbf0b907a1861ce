// SPDX-License-Identifier: Apache-2.0
// Runs workloads through variants of one lab, round by round. Each round starts all proxies afresh;
// within it the variants of a workload follow each other at once and in a fresh order, so that the
// machine's drift meets all alike. Ratios are taken within a round.
import { readFileSync } from 'node:fs';
import type { Lab } from '../lab/lab.ts';
import { MeshError } from '../lib/error.ts';
import { coreOf, restartAll } from './bench-lab.ts';
import { type MeterPlaces, meter, type Usage } from './cpu.ts';
import type { Progress } from './progress.ts';
import {
  cgroupIn,
  type End,
  podOf,
  type StartOptions,
  setsOf,
  type Variant,
} from './variants/variant.ts';
import type { Workload } from './workloads.ts';

/** What one run of one workload through one variant gave. */
export interface Sample {
  readonly round: number;
  readonly workload: string;
  readonly variant: string;
  /** By the figure's name. */
  readonly figures: Readonly<Record<string, number>>;
  /** Requests, or GB. */
  readonly work?: number;
  readonly usage: Usage;
  readonly load1: number;
  /** Strangers or the host had a processor for over `strangersShareMax` of the time. */
  readonly disturbed: boolean;
  /** Runs that the load tool gave up, before the one that counts. */
  readonly failures: number;
}

/** How often and how long, and what proxies are started with. */
export interface RoundsOptions extends StartOptions {
  readonly rounds: number;
  readonly seconds: number;
  readonly progress: Progress;
}

/** Of one processor: a run is repeated, and at last flagged, when others took more than this. */
export const strangersShareMax = 0.1;
/** How often a disturbed or failed run is tried again; the least disturbed counts. */
export const repeatsMax = 2;

/** The cgroups to measure while `variant` carries connections from its client to `to`. */
function placesOf(lab: Lab, variant: Variant, to: End): MeterPlaces {
  const onWay: readonly End[] = ['client', to];
  const proxies = onWay.flatMap((end) => variant.proxyOf(lab, end) ?? []);
  return {
    proc: '/proc',
    lab: lab.plan.names.cgroup,
    proxies: [...new Set(proxies)],
    apps: onWay.map((end) => cgroupIn(lab, `pods/${podOf(variant, end)}`)),
  };
}

/** The load average of the last minute. */
export function loadAverage(): number {
  return Number(readFileSync('/proc/loadavg', 'latin1').split(' ')[0]);
}

/** Of one processor: what proxies that carry a load use at least; idle ones use less. */
export const proxiesShareMin = 0.01;

/** Throws MeshError `internal` when the proxies were too idle to have carried anything. */
export function checkCarried({ proxies, wall }: Pick<Usage, 'proxies' | 'wall'>): void {
  if (proxies < proxiesShareMin * wall) {
    const used = `${(proxies * 1000).toFixed(0)} ms of CPU in ${wall.toFixed(1)} s`;
    throw new MeshError('internal', `the load went past the proxies, which used ${used}`);
  }
}

interface Run {
  readonly output: string;
  readonly usage: Usage;
}

async function once(lab: Lab, workload: Workload, variant: Variant, seconds: number): Promise<Run> {
  const { to } = workload;
  const server = lab.pod(podOf(variant, to)).ipv4;
  const command = ['taskset', '-c', coreOf.client, ...workload.command(server, seconds)];
  const end = meter(placesOf(lab, variant, to));
  const timeoutMs = seconds * 1000 + 20_000;
  const run = await lab.inPod(podOf(variant, 'client'), command, { timeoutMs });
  const usage = end();
  if (run.code !== 0) {
    const said = (run.stderr || run.stdout).trim().slice(-300);
    throw new MeshError('unavailable', `${workload.tool}: ${said}`);
  }
  if (variant.proxyOf(lab, 'client') !== undefined) {
    checkCarried(usage);
  }
  return { output: run.stdout, usage };
}

const strangersShare = ({ usage }: { readonly usage: Usage }): number =>
  (usage.strangers + usage.steal) / usage.wall;

/** The least disturbed of up to 1 + `repeatsMax` runs. Throws what the last threw if all failed. */
export async function quietest<R extends { readonly usage: Usage }>(
  work: () => Promise<R>,
): Promise<{ run: R; failures: number; disturbed: boolean }> {
  let best: R | undefined;
  let last: unknown;
  let failures = 0;
  const quiet = (): boolean => best !== undefined && strangersShare(best) <= strangersShareMax;
  for (let n = 0; n <= repeatsMax && !quiet(); n++) {
    try {
      const next = await work();
      best = best === undefined || strangersShare(next) < strangersShare(best) ? next : best;
    } catch (error) {
      failures += 1;
      last = error;
    }
  }
  if (best === undefined) {
    throw last;
  }
  return { run: best, failures, disturbed: !quiet() };
}

function figuresOf(workload: Workload, output: string): Record<string, number> {
  const all = workload.figures.flatMap(({ name, parse }): [string, number][] => {
    const value = parse(output);
    return value === undefined ? [] : [[name, value]];
  });
  return Object.fromEntries(all);
}

/** Runs one workload through one variant once, or a few times when others disturb it. */
export async function measure(
  lab: Lab,
  workload: Workload,
  variant: Variant,
  round: number,
  seconds: number,
): Promise<Sample> {
  const { run, failures, disturbed } = await quietest(async () => {
    const { output, usage } = await once(lab, workload, variant, seconds);
    const figures = figuresOf(workload, output);
    const { work } = workload;
    return { usage, figures, ...(work === undefined ? {} : { work: work.of(output) }) };
  });
  const names = { round, workload: workload.name, variant: variant.name };
  return { ...names, ...run, load1: loadAverage(), disturbed, failures };
}

/** A copy in an order of its own each time. */
export function shuffled<T>(all: readonly T[]): T[] {
  return all
    .map((each) => ({ each, key: Math.random() }))
    .sort((a, b) => a.key - b.key)
    .map(({ each }) => each);
}

/** Why a cell of the tables is empty. */
export interface NotRun {
  readonly variant: string;
  /** Absent when none of its workloads could be. */
  readonly workload?: string | undefined;
  readonly why: string;
}

/** What came of some rounds; it grows while they run. */
export interface Measured {
  readonly samples: Sample[];
  readonly notRun: NotRun[];
}

const httpOnly = 'it reads HTTP, and this is none';

/** Whether the variant can carry the workload at all. */
export function canCarry(variant: CarryingVariant, workload: CarriedWorkload): boolean {
  return whyNotCarried(variant, workload) === undefined;
}

type CarryingVariant = Pick<Variant, 'carries' | 'ways' | 'tierOf'>;
type CarriedWorkload = Pick<Workload, 'speaks'> & Partial<Pick<Workload, 'to'>>;

function whyNotCarried(
  { carries, ways, tierOf }: CarryingVariant,
  { speaks, to }: CarriedWorkload,
): string | undefined {
  if (carries !== 'tcp' && speaks !== 'http') {
    return httpOnly;
  }
  const same = ways !== undefined && to !== undefined && !ways.includes(to);
  return same ? `on that way it is ${tierOf}` : undefined;
}

/** What of `workloads` these variants cannot carry at all. */
export function notCarried(
  workloads: readonly (CarriedWorkload & Pick<Workload, 'name'>)[],
  variants: readonly (CarryingVariant & Pick<Variant, 'name'>)[],
): NotRun[] {
  return workloads.flatMap((workload) =>
    variants.flatMap((variant) => {
      const why = whyNotCarried(variant, workload);
      return why === undefined ? [] : [{ variant: variant.name, workload: workload.name, why }];
    }),
  );
}

/**
 * Runs every workload through every variant, in rounds; each round starts all proxies afresh, one
 * set of variants (see `setsOf`) after the other. A workload that a variant cannot carry, or fails
 * at, is told in `notRun` and not tried again. All goes into `measured` at once. Throws MeshError
 * when proxies do not start.
 */
export async function runRounds(
  lab: Lab,
  workloads: readonly Workload[],
  variants: readonly Variant[],
  options: RoundsOptions,
  { samples, notRun }: Measured,
): Promise<void> {
  const { rounds, seconds, progress } = options;
  notRun.push(...notCarried(workloads, variants));
  const attempt = async (workload: Workload, variant: Variant, round: number): Promise<void> => {
    const names = { variant: variant.name, workload: workload.name };
    if (notRun.some((each) => each.variant === names.variant && each.workload === names.workload)) {
      return;
    }
    try {
      const sample = await measure(lab, workload, variant, round, seconds);
      samples.push(sample);
      progress.note(lineOf(sample));
    } catch (error) {
      const why = MeshError.from(error).message;
      notRun.push({ ...names, why });
      progress.note(`${names.workload} ${names.variant}: not run: ${why}`);
    }
  };
  for (let round = 1; round <= rounds; round++) {
    for (const set of shuffled(setsOf(variants))) {
      await restartAll(lab, set, options);
      for (const workload of workloads) {
        for (const variant of shuffled(set.filter((each) => canCarry(each, workload)))) {
          await attempt(workload, variant, round);
          progress.done(1);
        }
      }
    }
  }
}

function lineOf({ round, workload, variant, figures, failures, disturbed }: Sample): string {
  const told = Object.entries(figures).map(([name, value]) => `${name} ${value.toPrecision(4)}`);
  const flags = `${failures === 0 ? '' : `, ${failures} failed`}${disturbed ? ' (disturbed)' : ''}`;
  return `round ${round}: ${workload} ${variant}: ${told.join(', ')}${flags}`;
}
