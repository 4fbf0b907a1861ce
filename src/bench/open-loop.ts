// SPDX-License-Identifier: Apache-2.0
// bench_open_loop, the load tool that takes least of the processor it shares with what is measured:
// a request takes vegeta some 270 us of it, and this one some 40.
import { join } from 'node:path';
import { z } from 'zod';
import { MeshError } from '../lib/error.ts';
import { serverPorts } from './mesh.ts';
import { buildNativeBench, sampleLinesIn } from './native-bench.ts';
import { tells } from './workloads.ts';

const program = 'bench_open_loop';
const root = join(import.meta.dirname, '../..');

/** A load at a constant rate. */
export interface OpenLoop {
  /** Requests a second. */
  readonly rate: number;
  readonly seconds: number;
  /** Connections that are there before the first request, and carry all; 0 for one of its own each. */
  readonly kept: number;
}

/** What became of a load. A request without an answer counts in percentiles with the time it had. */
export interface OpenLoopReport {
  readonly asked: number;
  readonly answered: number;
  readonly failed: number;
  /** What was asked for, or until the last answer. */
  readonly seconds: number;
  /** From when a request was due. */
  readonly micros: { readonly p50: number; readonly p90: number; readonly p99: number };
}

const reportLine = z.object({
  asked: z.int().positive(),
  answered: z.int(),
  failed: z.int(),
  seconds: z.number().positive(),
  micros: z.object({ p50: z.number(), p90: z.number(), p99: z.number() }),
});

/** Builds the program if need be. Answers why it cannot be had, or nothing. */
export async function openLoopOrReason(): Promise<string | undefined> {
  try {
    await buildNativeBench(program);
    return undefined;
  } catch (error) {
    return `${program} cannot be built: ${MeshError.from(error).message}`;
  }
}

/** The command of a load against a server's address. */
export function openLoopCommand(
  server: string,
  { rate, seconds, kept }: OpenLoop,
  port: number = serverPorts.http,
): string[] {
  const numbers = [port, rate, seconds, kept].map(String);
  return [join(root, 'build/native', program), server, ...numbers];
}

/** Reads what the program prints. Throws MeshError `invalid` when it is something else. */
export function openLoopReport(output: string): OpenLoopReport {
  const [report, ...more] = sampleLinesIn(program, output, reportLine);
  if (report === undefined || more.length > 0) {
    throw new MeshError('invalid', `${program} printed ${more.length + 1} reports`);
  }
  return report;
}

/**
 * The percentile of 99, in microseconds. Throws MeshError `invalid` when a request failed, or there
 * were too few to tell.
 */
export function openLoopP99({ asked, failed, micros }: OpenLoopReport): number {
  if (failed > 0) {
    throw new MeshError('invalid', `${program}: ${failed} of ${asked} requests failed`);
  }
  if (!tells(99, asked)) {
    throw new MeshError('invalid', 'too few requests for a percentile of 99: measure longer');
  }
  return micros.p99;
}
