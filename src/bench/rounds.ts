// SPDX-License-Identifier: Apache-2.0
// Runs workloads through variants of one lab, round by round. Within a round the variants follow
// each other at once and in a fresh order, so that the machine's drift meets all alike; ratios are
// taken within a round.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Lab } from '../lab/lab.ts';
import { processesIn } from '../lab/processes.ts';
import { MeshError } from '../lib/error.ts';
import { runProgram } from '../lib/program.ts';
import { type MeterPlaces, meter, type Usage } from './cpu.ts';
import type { Workload } from './workloads.ts';

/** One way from client to server. Its pods are called NAME-client and NAME-server. */
export interface Variant {
  readonly name: string;
  /** Cgroups of the proxies on the way, by node. */
  readonly proxies: { readonly 'node-a'?: string; readonly 'node-b'?: string };
}

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

/** How often and how long. */
export interface RoundsOptions {
  readonly rounds: number;
  readonly seconds: number;
  readonly progress: (text: string) => void;
}

/** Of one processor: a run is repeated, and at last flagged, when others took more than this. */
export const strangersShareMax = 0.1;
/** How often a disturbed or failed run is tried again; the least disturbed counts. */
export const repeatsMax = 2;

const cores: Readonly<Record<string, string>> = { 'node-a': '0', 'node-b': '1' };

/** The cgroup of a process or pod of the lab. */
export function cgroupIn(lab: Lab, name: string): string {
  return join(lab.plan.names.cgroup, name);
}

/** Pins everything of node A to one core and everything of node B to another. */
export async function pin(lab: Lab, variants: readonly Variant[]): Promise<void> {
  for (const node of lab.plan.nodes) {
    const pods = lab.plan.pods.filter((pod) => pod.node === node.name);
    const folders = [
      cgroupIn(lab, node.name),
      ...pods.map((pod) => cgroupIn(lab, `pods/${pod.name}`)),
      ...variants.flatMap(({ proxies }) => proxies[node.name as keyof Variant['proxies']] ?? []),
    ];
    for (const pid of new Set(folders.flatMap(processesIn))) {
      const args = ['-acp', cores[node.name] ?? '0', String(pid)];
      const { code, stderr } = await runProgram('taskset', args);
      if (code !== 0) {
        throw new MeshError('unavailable', `taskset: ${stderr}`);
      }
    }
  }
}

function placesOf(lab: Lab, variant: Variant): MeterPlaces {
  return {
    root: join(lab.plan.names.cgroup, '..'),
    lab: lab.plan.names.cgroup,
    proxies: Object.values(variant.proxies),
    apps: ['client', 'server'].map((end) => cgroupIn(lab, `pods/${variant.name}-${end}`)),
  };
}

/** The load average of the last minute. */
export function loadAverage(): number {
  return Number(readFileSync('/proc/loadavg', 'latin1').split(' ')[0]);
}

interface Run {
  readonly output: string;
  readonly usage: Usage;
}

async function once(lab: Lab, workload: Workload, variant: Variant, seconds: number): Promise<Run> {
  const server = lab.pod(`${variant.name}-server`).ipv4;
  const command = ['taskset', '-c', '0', ...workload.command(server, seconds)];
  const end = meter(placesOf(lab, variant));
  const timeoutMs = seconds * 1000 + 20_000;
  const run = await lab.inPod(`${variant.name}-client`, command, { timeoutMs });
  const usage = end();
  if (run.code !== 0) {
    const said = run.stderr || run.stdout;
    throw new MeshError('unavailable', `${variant.name}: ${command.join(' ')}: ${said}`);
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

/** Runs one workload through one variant once, or a few times when others disturb it. */
export async function measure(
  lab: Lab,
  workload: Workload,
  variant: Variant,
  round: number,
  seconds: number,
): Promise<Sample> {
  const tried = await quietest(() => once(lab, workload, variant, seconds));
  const { run, failures, disturbed } = tried;
  const figures = workload.figures.map(({ name, parse }) => [name, parse(run.output)] as const);
  return {
    round,
    workload: workload.name,
    variant: variant.name,
    figures: Object.fromEntries(figures),
    ...(workload.work === undefined ? {} : { work: workload.work.of(run.output) }),
    usage: run.usage,
    load1: loadAverage(),
    disturbed,
    failures,
  };
}

/** A copy in an order of its own each time. */
export function shuffled<T>(all: readonly T[]): T[] {
  return all
    .map((each) => ({ each, key: Math.random() }))
    .sort((a, b) => a.key - b.key)
    .map(({ each }) => each);
}

/** Runs every workload through every variant, on a lab that is up and pinned. */
export async function runRounds(
  lab: Lab,
  workloads: readonly Workload[],
  variants: readonly Variant[],
  options: RoundsOptions,
): Promise<Sample[]> {
  const { rounds, seconds, progress } = options;
  const samples: Sample[] = [];
  for (let round = 1; round <= rounds; round++) {
    for (const workload of workloads) {
      for (const variant of shuffled(variants)) {
        const sample = await measure(lab, workload, variant, round, seconds);
        samples.push(sample);
        const told = Object.entries(sample.figures).map(([name, value]) => `${name} ${value}`);
        const failed = sample.failures === 0 ? '' : `, ${sample.failures} failed`;
        const flag = `${failed}${sample.disturbed ? ' (disturbed)' : ''}`;
        progress(`round ${round}: ${workload.name} ${variant.name}: ${told.join(', ')}${flag}`);
      }
    }
  }
  return samples;
}
