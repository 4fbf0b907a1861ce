// SPDX-License-Identifier: Apache-2.0
// From samples to figures: medians, and ratios within rounds.
import type { Sample } from './rounds.ts';
import { type Spread, spreadOf } from './statistics.ts';
import { referencesOf } from './variants/all.ts';
import { bare } from './variants/bare.ts';
import type { Workload } from './workloads.ts';

/** One figure of one workload through one variant. */
export interface Row {
  readonly workload: string;
  readonly figure: string;
  readonly unit: string;
  readonly variant: string;
  readonly spread: Spread;
  /** The figure of each round, by its number. */
  readonly rounds: Readonly<Record<number, number>>;
  /** To whom of `referencesOf` was measured, by name, within each round. */
  readonly ratios: Readonly<Record<string, Spread>>;
  /** Rounds in which others had the processors for a noticeable time. */
  readonly disturbed: number;
  /** Runs that the load tool gave up and that were made again; absent without any. */
  readonly failures?: number;
  /** Rounds in which the load that the figure is beside fell short of its rate; absent without any. */
  readonly short?: number;
}

/** A figure that is computed from a sample, and from the bare one of the same round. */
interface Derived {
  readonly name: string;
  readonly unit: string;
  readonly of: (sample: Sample, bareSample: Sample | undefined) => number | undefined;
}

function derivedOf(workload: Workload): Derived[] {
  const plain = workload.figures.map(({ name, unit }): Derived => {
    return { name, unit, of: ({ figures }) => figures[name] };
  });
  const added = (name: string): Derived => ({
    name: `added ${name}`,
    unit: 'us',
    of: ({ figures, variant }, bareSample) =>
      variant === bare.name
        ? undefined
        : (figures[name] ?? 0) - (bareSample?.figures[name] ?? Number.NaN),
  });
  if (workload.work === undefined) {
    return [...plain, added('p50')];
  }
  const scale = workload.work.unit === 'request' ? 1e6 : 1;
  const unit = workload.work.unit === 'request' ? 'us/request' : 's/GB';
  const cpu = (name: string, key: 'proxies' | 'path'): Derived => ({
    name,
    unit,
    of: ({ usage, work, variant }) =>
      variant === bare.name ? undefined : (usage[key] / (work ?? 0)) * scale,
  });
  return [...plain, cpu('proxy CPU', 'proxies'), cpu('path CPU', 'path')];
}

function ratiosOf(
  mine: ReadonlyMap<number, number>,
  other: ReadonlyMap<number, number> | undefined,
) {
  const all = [...mine].flatMap(([round, value]) => {
    const base = other?.get(round);
    return base === undefined || base === 0 ? [] : [value / base];
  });
  return all.length === 0 ? undefined : spreadOf(all);
}

type ByRound = ReadonlyMap<number, number>;

/** A figure of each variant, round by round. */
export interface Series {
  readonly workload: string;
  readonly figure: string;
  readonly unit: string;
  /** By variant. */
  readonly values: ReadonlyMap<string, ByRound>;
}

/** The rows of one series, the variants in the order they are named. */
export function rowsOf(series: Series, variants: readonly string[]): Row[] {
  const { workload, figure, unit, values } = series;
  return variants.flatMap((variant): Row[] => {
    const mine = values.get(variant);
    if (mine === undefined) {
      return [];
    }
    const ratios = referencesOf(variant).flatMap((name): [string, Spread][] => {
      const found = ratiosOf(mine, values.get(name));
      return found === undefined ? [] : [[name, found]];
    });
    return [
      {
        ...{ workload, figure, unit, variant, disturbed: 0 },
        spread: spreadOf([...mine.values()]),
        rounds: Object.fromEntries(mine),
        ratios: Object.fromEntries(ratios),
      },
    ];
  });
}

function valuesOf(derived: Derived, samples: readonly Sample[]): Map<string, ByRound> {
  const bareOf = new Map(
    samples.filter(({ variant }) => variant === bare.name).map((each) => [each.round, each]),
  );
  const byVariant = new Map<string, Map<number, number>>();
  for (const sample of samples) {
    const value = derived.of(sample, bareOf.get(sample.round));
    if (value !== undefined && Number.isFinite(value)) {
      const values = byVariant.get(sample.variant) ?? new Map<number, number>();
      byVariant.set(sample.variant, values.set(sample.round, value));
    }
  }
  return byVariant;
}

/** The rows of one workload: figure by figure, the variants in the order they are named. */
export function summaryOf(
  workload: Workload,
  all: readonly Sample[],
  variants: readonly string[],
): Row[] {
  const samples = all.filter((sample) => sample.workload === workload.name);
  return derivedOf(workload).flatMap((derived) => {
    const { name: figure, unit } = derived;
    const values = valuesOf(derived, samples);
    return rowsOf({ workload: workload.name, figure, unit, values }, variants).map((row) => {
      const own = samples.filter(({ variant }) => variant === row.variant);
      const disturbed = own.filter((each) => each.disturbed).length;
      const failures = own.reduce((sum, each) => sum + each.failures, 0);
      return { ...row, disturbed, ...(failures === 0 ? {} : { failures }) };
    });
  });
}
