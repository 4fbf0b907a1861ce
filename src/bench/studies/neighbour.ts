// SPDX-License-Identifier: Apache-2.0
// What a pod feels of another one on its node that moves bulk data: requests at a constant rate,
// alone and beside that.
import type { Lab } from '../../lab/lab.ts';
import { processesIn } from '../../lab/processes.ts';
import { MeshError } from '../../lib/error.ts';
import { coreOf, pinTo, restartAll } from '../bench-lab.ts';
import { type NotRun, type RoundsOptions, shuffled } from '../rounds.ts';
import { type Row, rowsOf, type Series } from '../summary.ts';
import { podOf, type Variant } from '../variants/variant.ts';
import { bulkCommand, type Pace, paceCommand, pacePercentile, received } from '../workloads.ts';

/** Its name among the workloads. */
export const neighbourStudy = 'neighbour';

const pace: Pace = { rate: 1000, connections: 16 };
// The noise begins before the requests do, and ends after them.
const marginSeconds = 1;

async function p99(lab: Lab, variant: Variant, seconds: number): Promise<number> {
  const server = lab.pod(podOf(variant, 'server')).ipv4;
  const command = ['taskset', '-c', coreOf.client, ...paceCommand(server, seconds, pace)];
  const timeoutMs = seconds * 1000 + 20_000;
  const run = await lab.inPod(podOf(variant, 'client'), command, { timeoutMs });
  if (run.code !== 0) {
    throw new MeshError('unavailable', `vegeta: ${run.stderr.trim().slice(-300)}`);
  }
  const value = pacePercentile(99, pace).parse(run.stdout);
  if (value === undefined) {
    throw new MeshError('invalid', 'too few requests for a percentile of 99: measure longer');
  }
  return value;
}

/** What both resolve with. Rejects as the first of them does, and not before both have ended. */
export async function both<A, B>(a: Promise<A>, b: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([a, b]);
  return await Promise.all([a, b]);
}

interface Beside {
  readonly p99: number;
  /** The noise meanwhile. */
  readonly gbits: number;
}

async function besideNoise(lab: Lab, variant: Variant, seconds: number): Promise<Beside> {
  const sink = lab.pod(podOf(variant, 'sink')).ipv4;
  const length = seconds + 2 * marginSeconds;
  const bulk = bulkCommand(sink, length, { connections: 1, down: false });
  const command = ['taskset', '-c', coreOf.client, ...bulk];
  const timeoutMs = length * 1000 + 20_000;
  const noise = lab.inPod(podOf(variant, 'neighbour'), command, { timeoutMs });
  // Time is what is asked for: the transfer is up to speed by then.
  await new Promise((resolve) => setTimeout(resolve, marginSeconds * 1000));
  // Also when there is no figure the noise has to end before anything else is measured.
  const [value, { code, stdout, stderr }] = await both(p99(lab, variant, seconds), noise);
  if (code !== 0) {
    throw new MeshError('unavailable', `iperf3: ${(stderr || stdout).trim().slice(-300)}`);
  }
  return { p99: value, gbits: received(stdout, 'bits_per_second') };
}

/** Measures every variant in each round, alone and beside the noise. */
export async function measureNeighbour(
  lab: Lab,
  variants: readonly Variant[],
  options: RoundsOptions,
): Promise<{ readonly rows: Row[]; readonly notRun: NotRun[] }> {
  const { rounds, seconds, progress } = options;
  const out = new Map<string, string>();
  const figures = {
    alone: 'p99 alone',
    beside: 'p99 beside bulk',
    ratio: 'beside to alone',
    noise: 'bulk meanwhile',
  };
  const values = new Map(
    Object.values(figures).map((name) => [name, new Map<string, Map<number, number>>()]),
  );
  const note = (figure: string, variant: string, round: number, value: number): void => {
    const byVariant = values.get(figure);
    byVariant?.set(variant, (byVariant.get(variant) ?? new Map()).set(round, value));
  };
  const leaveOut = (left: readonly Variant[], error: unknown): void => {
    for (const { name } of left.filter((each) => !out.has(each.name))) {
      out.set(name, MeshError.from(error).message);
    }
  };
  for (let round = 1; round <= rounds; round++) {
    try {
      await restartAll(lab, variants, options);
    } catch (error) {
      leaveOut(variants, error);
      break;
    }
    for (const variant of shuffled(variants).filter(({ name }) => !out.has(name))) {
      // Both pods and their proxies share the core of their node.
      const proxy = variant.proxyOf(lab, 'neighbour');
      await pinTo(coreOf.client, proxy === undefined ? [] : processesIn(proxy));
      try {
        const alone = await p99(lab, variant, seconds);
        const beside = await besideNoise(lab, variant, seconds);
        note(figures.alone, variant.name, round, alone);
        note(figures.beside, variant.name, round, beside.p99);
        note(figures.ratio, variant.name, round, beside.p99 / alone);
        note(figures.noise, variant.name, round, beside.gbits);
        const told = `p99 ${alone.toFixed(0)} us, beside bulk ${beside.p99.toFixed(0)} us`;
        progress.note(`round ${round}: ${neighbourStudy} ${variant.name}: ${told}`);
      } catch (error) {
        leaveOut([variant], error);
      }
      progress.done(1);
    }
  }
  const names = variants.map(({ name }) => name);
  const units = new Map([
    [figures.ratio, ''],
    [figures.noise, 'Gbit/s'],
  ]);
  const rows = [...values].flatMap(([figure, byVariant]) => {
    const unit = units.get(figure) ?? 'us';
    const series: Series = { workload: neighbourStudy, figure, unit, values: byVariant };
    return rowsOf(series, names);
  });
  const notRun = Array.from(out, ([variant, why]) => ({ variant, workload: neighbourStudy, why }));
  return { rows, notRun };
}
