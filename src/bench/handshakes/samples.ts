// SPDX-License-Identifier: Apache-2.0
// What whole handshakes cost: samples of bench_handshakes and bench_openssl, and what is made of
// them.
import { z } from 'zod';
import { sampleLinesIn } from '../native-bench.ts';
import { type Spread, spreadOf } from '../statistics.ts';

const modes = ['off', 'scalar', 'avx512'] as const;

const handshakeLine = z.object({
  leaves: z.enum(['verified', 'known']),
  atOnce: z.int().positive(),
  mode: z.enum(modes),
  micros: z.number().positive(),
  p50Micros: z.number().positive(),
  p99Micros: z.number().positive(),
  lanesFilled: z.number(),
  inSixLanes: z.number(),
});

const opensslLine = z.object({ library: z.string(), micros: z.number().positive() });

/** So many handshakes of one way, in one round; times are of both ends together. */
export interface HandshakeSample {
  readonly leaves: 'verified' | 'known';
  /** Handshakes that are under way at a time. */
  readonly atOnce: number;
  readonly mode: 'off' | 'scalar' | 'avx512';
  /** CPU time of one. */
  readonly micros: number;
  readonly p50Micros: number;
  readonly p99Micros: number;
  readonly lanesFilled: number;
  readonly inSixLanes: number;
}

/** So many handshakes by the system's OpenSSL, in one round. */
export interface OpensslSample {
  readonly library: string;
  readonly micros: number;
}

/** What one round measured. */
export interface Round {
  readonly handshakes: readonly HandshakeSample[];
  /** Absent where the system's OpenSSL could not be measured. */
  readonly openssl?: OpensslSample | undefined;
}

/** Reads what bench_handshakes prints. Throws MeshError `invalid` when it is something else. */
export function handshakesIn(lines: string): HandshakeSample[] {
  return sampleLinesIn('bench_handshakes', lines, handshakeLine);
}

/** Reads what bench_openssl prints of one round. Throws MeshError `invalid` for anything else. */
export function opensslIn(lines: string): OpensslSample | undefined {
  return sampleLinesIn('bench_openssl', lines, opensslLine)[0];
}

/** One way; times are in microseconds, of both ends together. */
export interface WayFigures {
  readonly leaves: 'verified' | 'known';
  readonly atOnce: number;
  /** CPU time of a handshake, by mode. */
  readonly micros: Readonly<Record<string, Spread>>;
  /** From a handshake's first byte to its last, by mode. */
  readonly p99Micros: Readonly<Record<string, Spread>>;
  /** How many times as long as in lanes one after the other takes, within each round. */
  readonly gain?: Spread;
  /** The p99 in lanes to that one after the other, within each round. */
  readonly p99Ratio?: Spread;
  /** Of calls of kernels, in the middle. */
  readonly lanesFilled?: Spread;
  /** Share of operations in calls with six lanes filled, or more. */
  readonly inSixLanes?: Spread;
}

/** All ways, and the system's OpenSSL with leaves that are verified. */
export interface HandshakeFigures {
  readonly ways: readonly WayFigures[];
  readonly openssl?: {
    readonly library: string;
    readonly micros: Spread;
    /** How many times as long as eight at a time in lanes, within each round. */
    readonly toEight?: Spread;
  };
}

const of = (round: Round, way: Partial<HandshakeSample>): HandshakeSample | undefined =>
  round.handshakes.find((each) =>
    Object.entries(way).every(([key, value]) => each[key as keyof HandshakeSample] === value),
  );

const spreadsOf = (
  rounds: readonly Round[],
  way: Partial<HandshakeSample>,
  figure: (sample: HandshakeSample) => number,
): Record<string, Spread> =>
  Object.fromEntries(
    modes.flatMap((mode) => {
      const samples = rounds.flatMap((round) => of(round, { ...way, mode }) ?? []);
      return samples.length === 0 ? [] : [[mode, spreadOf(samples.map(figure))]];
    }),
  );

function wayFigures(
  rounds: readonly Round[],
  { leaves, atOnce }: Pick<HandshakeSample, 'leaves' | 'atOnce'>,
): WayFigures {
  const way = { leaves, atOnce };
  const pairs = rounds.flatMap((round) => {
    const scalar = of(round, { ...way, mode: 'scalar' });
    const wide = of(round, { ...way, mode: 'avx512' });
    return scalar === undefined || wide === undefined ? [] : [{ scalar, wide }];
  });
  const inLanes = pairs.length > 0 && {
    gain: spreadOf(pairs.map(({ scalar, wide }) => scalar.micros / wide.micros)),
    p99Ratio: spreadOf(pairs.map(({ scalar, wide }) => wide.p99Micros / scalar.p99Micros)),
    lanesFilled: spreadOf(pairs.map(({ wide }) => wide.lanesFilled)),
    inSixLanes: spreadOf(pairs.map(({ wide }) => wide.inSixLanes)),
  };
  return {
    ...way,
    micros: spreadsOf(rounds, way, ({ micros }) => micros),
    p99Micros: spreadsOf(rounds, way, ({ p99Micros }) => p99Micros),
    ...inLanes,
  };
}

function opensslFigures(rounds: readonly Round[]): HandshakeFigures['openssl'] {
  const own = rounds.flatMap(({ openssl }) => openssl ?? []);
  const [first] = own;
  if (first === undefined) {
    return;
  }
  const eight = { leaves: 'verified', atOnce: 8, mode: 'avx512' } as const;
  const ratios = rounds.flatMap((round) => {
    const wide = of(round, eight);
    const { openssl } = round;
    return wide === undefined || openssl === undefined ? [] : [openssl.micros / wide.micros];
  });
  const micros = spreadOf(own.map((each) => each.micros));
  return {
    ...{ library: first.library, micros },
    ...(ratios.length === 0 ? {} : { toEight: spreadOf(ratios) }),
  };
}

/** Every way in the order of the samples; spreads are over rounds. */
export function figuresOf(rounds: readonly Round[]): HandshakeFigures {
  const ways = (rounds[0]?.handshakes ?? []).filter(({ mode }) => mode === 'off');
  const openssl = opensslFigures(rounds);
  return {
    ways: ways.map((way) => wayFigures(rounds, way)),
    ...(openssl === undefined ? {} : { openssl }),
  };
}
