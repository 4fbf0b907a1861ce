// SPDX-License-Identifier: Apache-2.0
// What established connections feel of handshakes: requests at a constant rate, alone and beside a
// storm of connections that other pods of the same nodes make, each with a full handshake.
import type { Lab } from '../../lab/lab.ts';
import { processesIn } from '../../lab/processes.ts';
import { MeshError } from '../../lib/error.ts';
import { coreOf, pinTo, restartAll } from '../bench-lab.ts';
import {
  type OpenLoop,
  type OpenLoopReport,
  openLoopCommand,
  openLoopP99,
  openLoopReport,
} from '../open-loop.ts';
import { type NotRun, type RoundsOptions, shuffled } from '../rounds.ts';
import { type Row, rowsOf } from '../summary.ts';
import { type End, podOf, setsOf, type Variant } from '../variants/variant.ts';
import type { Mode } from '../workloads.ts';
import { both } from './neighbour.ts';

/** A study: the same at some rate of the storm. */
export interface Storm {
  /** Its name among the workloads. */
  readonly name: string;
  /** Connections a second. */
  readonly rate: number;
}

/** What a node that starts is said to get, and half of it. */
export const storms: readonly Storm[] = [1000, 2000].map((rate) => ({
  name: `storm${rate}`,
  rate,
}));

/**
 * How the mesh is set for it: a tunnel for each connection, and no session to resume. The peer's
 * certificate is remembered, as it is wherever a storm comes from fewer pods than it has connections.
 */
export const stormMode: Mode = 'cached';

/** A storm that reached less of its rate is told as short. */
export const stormShareMin = 0.95;

/** The names of its figures. */
export const stormFigures = {
  alone: 'p99 alone',
  beside: 'p99 beside storm',
  ratio: 'beside to alone',
  reached: 'storm reached',
} as const;

type FigureName = keyof typeof stormFigures;

const flow = { rate: 1000, kept: 16 };
// The storm begins before the requests do, and ends after them.
const marginSeconds = 1;

/** Whether the storm goes another way through the variant than through another one. */
export function feelsStorm({ carries, ways }: Pick<Variant, 'carries' | 'ways'>): boolean {
  return carries === 'tcp' && ways === undefined;
}

async function load(
  lab: Lab,
  variant: Variant,
  ways: readonly [from: End, to: End],
  what: OpenLoop,
): Promise<OpenLoopReport> {
  const [from, to] = ways.map((end) => lab.pod(podOf(variant, end)));
  const command = openLoopCommand(to?.ipv4 ?? '', what);
  const timeoutMs = what.seconds * 1000 + 20_000;
  const pinned = ['taskset', '-c', coreOf.client, ...command];
  const run = await lab.inPod(from?.name ?? '', pinned, { timeoutMs });
  if (run.code !== 0) {
    throw new MeshError('unavailable', `${command[0]}: ${run.stderr.trim().slice(-300)}`);
  }
  return openLoopReport(run.stdout);
}

async function p99(lab: Lab, variant: Variant, seconds: number): Promise<number> {
  return openLoopP99(await load(lab, variant, ['client', 'server'], { ...flow, seconds }));
}

type Figures = Readonly<Record<FigureName, number>>;

async function once(
  lab: Lab,
  variant: Variant,
  { rate }: Storm,
  seconds: number,
): Promise<Figures> {
  const alone = await p99(lab, variant, seconds);
  const length = seconds + 2 * marginSeconds;
  const storm = load(lab, variant, ['neighbour', 'sink'], { rate, kept: 0, seconds: length });
  // Time is what is asked for: the storm is at its rate by then.
  await new Promise((resolve) => setTimeout(resolve, marginSeconds * 1000));
  const [beside, report] = await both(p99(lab, variant, seconds), storm);
  const reached = report.answered / report.seconds;
  return { alone, beside, ratio: beside / alone, reached };
}

/** What was measured of one variant in one round. */
export interface StormSample {
  readonly round: number;
  readonly variant: string;
  readonly storm: Storm;
  readonly figures: Figures;
}

const isShort = ({ storm, figures }: StormSample): boolean =>
  figures.reached < storm.rate * stormShareMin;

/** The rows of one storm. All but the figure without it tell how many of its rounds were short. */
export function stormRows(
  storm: Storm,
  all: readonly StormSample[],
  variants: readonly string[],
): Row[] {
  const samples = all.filter((each) => each.storm.name === storm.name);
  const units: Partial<Record<FigureName, string>> = { ratio: '', reached: '/s' };
  return (Object.keys(stormFigures) as FigureName[]).flatMap((key) => {
    const byVariant = Map.groupBy(samples, ({ variant }) => variant);
    const values = new Map(
      Array.from(byVariant, ([variant, own]) => {
        return [variant, new Map(own.map(({ round, figures }) => [round, figures[key]]))] as const;
      }),
    );
    const names = { workload: storm.name, figure: stormFigures[key], unit: units[key] ?? 'us' };
    return rowsOf({ ...names, values }, variants).map((row) => {
      const short = (byVariant.get(row.variant) ?? []).filter(isShort).length;
      return key === 'alone' || short === 0 ? row : { ...row, short };
    });
  });
}

function told({ round, variant, storm, figures }: StormSample): string {
  const { alone, beside, reached } = figures;
  const both = `p99 ${alone.toFixed(0)} us, beside ${reached.toFixed(0)}/s ${beside.toFixed(0)} us`;
  return `round ${round}: ${storm.name} ${variant}: ${both}`;
}

/** What came of it; it grows meanwhile. */
interface Measured {
  readonly samples: StormSample[];
  readonly notRun: NotRun[];
}

const isOut = (notRun: readonly NotRun[], { name }: Variant, storm: Storm): boolean =>
  notRun.some(({ variant, workload }) => variant === name && workload === storm.name);

function leaveOut(
  set: readonly Variant[],
  chosen: readonly Storm[],
  error: unknown,
  { notRun }: Measured,
): void {
  const why = MeshError.from(error).message;
  for (const variant of set) {
    for (const storm of chosen.filter((each) => !isOut(notRun, variant, each))) {
      notRun.push({ variant: variant.name, workload: storm.name, why });
    }
  }
}

async function measureSet(
  lab: Lab,
  set: readonly Variant[],
  { round, chosen }: { readonly round: number; readonly chosen: readonly Storm[] },
  { seconds, progress }: RoundsOptions,
  measured: Measured,
): Promise<void> {
  for (const variant of shuffled(set)) {
    // Both pods and their proxies share the core of their node.
    const proxy = variant.proxyOf(lab, 'neighbour');
    await pinTo(coreOf.client, proxy === undefined ? [] : processesIn(proxy));
    for (const storm of chosen) {
      if (!isOut(measured.notRun, variant, storm)) {
        try {
          const figures = await once(lab, variant, storm, seconds);
          const sample = { round, variant: variant.name, storm, figures };
          measured.samples.push(sample);
          progress.note(told(sample));
        } catch (error) {
          leaveOut([variant], [storm], error, measured);
        }
      }
      progress.done(1);
    }
  }
}

/**
 * Measures every variant in each round, alone and beside each of the storms. What fails is told in
 * `notRun`, and not tried again.
 */
export async function measureStorms(
  lab: Lab,
  variants: readonly Variant[],
  chosen: readonly Storm[],
  options: RoundsOptions,
): Promise<{ readonly rows: Row[]; readonly notRun: NotRun[] }> {
  const measured: Measured = { samples: [], notRun: [] };
  for (let round = 1; round <= options.rounds; round++) {
    for (const set of shuffled(setsOf(variants))) {
      try {
        await restartAll(lab, set, options);
      } catch (error) {
        leaveOut(set, chosen, error, measured);
      }
      await measureSet(lab, set, { round, chosen }, options, measured);
    }
  }
  const names = variants.map(({ name }) => name);
  const rows = chosen.flatMap((storm) => stormRows(storm, measured.samples, names));
  return { rows, notRun: measured.notRun };
}
