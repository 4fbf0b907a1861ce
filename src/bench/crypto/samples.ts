// SPDX-License-Identifier: Apache-2.0
// What public-key operations cost: samples of bench_crypto, and what is made of them.
import { z } from 'zod';
import { sampleLinesIn } from '../native-bench.ts';
import { type Spread, spreadOf } from '../statistics.ts';

const sampleLine = z.object({
  operation: z.string(),
  row: z.enum(['portable', 'avx512']),
  lanes: z.int().positive(),
  calls: z.int().positive(),
  ns: z.int().positive(),
});

/** Some calls of one row, in one round. */
export interface CryptoSample {
  readonly operation: string;
  readonly row: 'portable' | 'avx512';
  /** Operations in each call. */
  readonly lanes: number;
  readonly calls: number;
  /** Thread CPU time of all calls. */
  readonly ns: number;
}

/** Reads what bench_crypto prints. Throws MeshError `invalid` when it is something else. */
export function samplesIn(lines: string): CryptoSample[] {
  return sampleLinesIn('bench_crypto', lines, sampleLine);
}

/** One operation; times are thread CPU time in microseconds. */
export interface OperationFigures {
  readonly operation: string;
  /** Of one operation by the portable row. */
  readonly portable: Spread;
  /** Of one call of the AVX-512 row, by lanes filled; empty where the processor has none. */
  readonly batches: readonly {
    readonly lanes: number;
    readonly micros: Spread;
    /** How many times as fast as the portable row, within each round. */
    readonly ratio: Spread;
  }[];
}

const microsOf = ({ ns, calls }: CryptoSample): number => ns / calls / 1000;

function batchOf(samples: readonly CryptoSample[], lanes: number, scalars: readonly number[]) {
  const micros = samples.filter((each) => each.lanes === lanes).map(microsOf);
  const ratios = micros.flatMap((each, round) => {
    const scalar = scalars[round];
    return scalar === undefined ? [] : [(scalar * lanes) / each];
  });
  return { lanes, micros: spreadOf(micros), ratio: spreadOf(ratios) };
}

/** Every operation, in the order of the samples; spreads are over rounds. */
export function figuresOf(samples: readonly CryptoSample[]): OperationFigures[] {
  return [...Map.groupBy(samples, ({ operation }) => operation)].map(([operation, group]) => {
    const portable = group.filter(({ row }) => row === 'portable');
    const scalars = portable.map((each) => microsOf(each) / each.lanes);
    const wide = group.filter(({ row }) => row === 'avx512');
    const filled = [...new Set(wide.map(({ lanes }) => lanes))].sort((a, b) => a - b);
    const batches = filled.map((lanes) => batchOf(wide, lanes, scalars));
    return { operation, portable: spreadOf(scalars), batches };
  });
}

const shown = (value: number): string => value.toFixed(2);

/** The figures as a table of Markdown: a row for each operation, a column for each filling. */
export function cryptoTable(figures: readonly OperationFigures[]): string {
  const filled = [...new Set(figures.flatMap(({ batches }) => batches.map(({ lanes }) => lanes)))];
  const head = ['operation', 'one by one', ...filled.map((lanes) => `${lanes} lanes`)];
  const rows = figures.map(({ operation, portable, batches }) => [
    operation,
    `${shown(portable.median)} us (${shown(portable.min)}..${shown(portable.max)})`,
    ...filled.map((lanes) => {
      const batch = batches.find((each) => each.lanes === lanes);
      return batch === undefined
        ? ''
        : `${shown(batch.micros.median)} us, x${shown(batch.ratio.median)}`;
    }),
  ]);
  const lines = [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`);
  return `${lines.join('\n')}\n`;
}
