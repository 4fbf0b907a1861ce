// SPDX-License-Identifier: Apache-2.0
// Measures the tunnel against the bare link: the same workloads between the same two nodes, once
// through both proxies and once without, in turn.

import type { Lab } from '../lab/lab.ts';
import { MeshError } from '../lib/error.ts';
import { runProgram } from '../lib/program.ts';
import { cpuSecondsOf } from './cpu.ts';
import { ratioOf, type Spread, spreadOf } from './statistics.ts';
import type { Figure, Workload } from './workloads.ts';

/** How often and how long. */
export interface TunnelBenchOptions {
  readonly rounds: number;
  readonly seconds: number;
  readonly progress: (text: string) => void;
}

/** One figure of one workload through one variant. */
export interface Result {
  readonly variant: Variant;
  readonly workload: string;
  readonly metric: string;
  readonly unit: string;
  readonly spread: Spread;
  /** To bare, within each round; absent for bare itself. */
  readonly ratioToBare?: Spread;
  /** CPU microseconds of both proxies per request, or CPU seconds per GB. */
  readonly proxyCpu?: { readonly unit: string; readonly spread: Spread };
  readonly samples: readonly number[];
}

/** Without proxies, or through the tunnel. */
export type Variant = 'bare' | 'mesh';

const variants: readonly Variant[] = ['bare', 'mesh'];
const proxies = ['node-a/ztunnel', 'node-b/ztunnel'] as const;

/** What one workload gave through one variant: a list a figure, one entry a round. */
interface Samples {
  readonly figures: readonly number[][];
  readonly cpu: number[];
}

function noSamples(workload: Workload): Samples {
  return { figures: workload.figures.map(() => []), cpu: [] };
}

/** Pins everything of node A to one core and everything of node B to another. */
export async function pin(lab: Lab): Promise<void> {
  const cores: Readonly<Record<string, string>> = { 'node-a': '0', 'node-b': '1' };
  for (const node of lab.plan.nodes) {
    const names = [`${node.name}/ztunnel`, `${node.name}/cni`];
    for (const pod of lab.plan.pods.filter((each) => each.node === node.name)) {
      names.push(...pod.containers.map((container) => `pods/${pod.name}/${container.name}`));
    }
    for (const name of names) {
      await pinProcess(lab.process(name).pid, cores[node.name] ?? '0');
    }
  }
}

async function pinProcess(pid: number, core: string): Promise<void> {
  const { code, stderr } = await runProgram('taskset', ['-acp', core, String(pid)]);
  if (code !== 0) {
    throw new MeshError('unavailable', `taskset: ${stderr}`);
  }
}

function proxyCpuSeconds(lab: Lab): number {
  return proxies.reduce((sum, name) => sum + cpuSecondsOf(lab.process(name).pid), 0);
}

async function measure(
  lab: Lab,
  workload: Workload,
  variant: Variant,
  seconds: number,
  samples: Samples,
): Promise<void> {
  const server = lab.pod(`${variant}-server`).ipv4;
  const command = ['taskset', '-c', '0', ...workload.command(server, seconds)];
  const before = proxyCpuSeconds(lab);
  const run = await lab.inPod(`${variant}-client`, command, { timeoutMs: seconds * 1000 + 20_000 });
  const used = proxyCpuSeconds(lab) - before;
  if (run.code !== 0) {
    throw new MeshError('unavailable', `${command.join(' ')}: ${run.stderr || run.stdout}`);
  }
  for (const [index, figure] of workload.figures.entries()) {
    samples.figures[index]?.push(figure.parse(run.stdout));
  }
  if (workload.work !== undefined) {
    samples.cpu.push(used / workload.work.of(run.stdout));
  }
}

function cpuOf(
  work: NonNullable<Workload['work']>,
  seconds: readonly number[],
): Result['proxyCpu'] {
  return work.unit === 'request'
    ? { unit: 'us/request', spread: spreadOf(seconds.map((each) => each * 1e6)) }
    : { unit: `s/${work.unit}`, spread: spreadOf(seconds) };
}

function resultOf(
  workload: Workload,
  figure: Figure,
  variant: Variant,
  measured: Readonly<Record<Variant, Samples>>,
): Result {
  const index = workload.figures.indexOf(figure);
  const samples = measured[variant].figures[index] ?? [];
  const { name, unit } = figure;
  const base = { variant, workload: workload.name, metric: name, unit, samples };
  const result = { ...base, spread: spreadOf(samples) };
  if (variant === 'bare') {
    return result;
  }
  const ratioToBare = ratioOf(samples, measured.bare.figures[index] ?? []);
  const cpu = workload.work === undefined ? undefined : cpuOf(workload.work, measured[variant].cpu);
  return { ...result, ratioToBare, ...(cpu === undefined ? {} : { proxyCpu: cpu }) };
}

/** Runs every workload through both variants, round by round, on a lab that is up and pinned. */
export async function benchTunnel(
  lab: Lab,
  workloads: readonly Workload[],
  options: TunnelBenchOptions,
): Promise<Result[]> {
  const { rounds, seconds, progress } = options;
  const measured = workloads.map((workload) => {
    return { workload, bare: noSamples(workload), mesh: noSamples(workload) };
  });
  for (let round = 1; round <= rounds; round++) {
    for (const each of measured) {
      progress(`round ${round} of ${rounds}: ${each.workload.name}`);
      for (const variant of variants) {
        await measure(lab, each.workload, variant, seconds, each[variant]);
      }
    }
  }
  return measured.flatMap((each) =>
    each.workload.figures.flatMap((figure) =>
      variants.map((variant) => resultOf(each.workload, figure, variant, each)),
    ),
  );
}
