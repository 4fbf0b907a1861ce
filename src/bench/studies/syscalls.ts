// SPDX-License-Identifier: Apache-2.0
// How often a proxy enters the kernel, and by that how often it is woken, for one ping-pong.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Lab } from '../../lab/lab.ts';
import { processesIn } from '../../lab/processes.ts';
import { MeshError } from '../../lib/error.ts';
import { coreOf } from '../bench-lab.ts';
import { serverPorts } from '../mesh.ts';
import { type End, nodeOf, podOf, type Variant } from '../variants/variant.ts';

/** Calls of one proxy for each round trip, in both directions together. */
export interface SyscallRow {
  readonly variant: string;
  readonly node: string;
  readonly waits: number;
  readonly reads: number;
  readonly writes: number;
  readonly others: number;
}

type Kind = 'waits' | 'reads' | 'writes' | 'others';

const kinds: ReadonlyMap<string, Kind> = new Map([
  ...['epoll_wait', 'epoll_pwait', 'epoll_pwait2'].map((name) => [name, 'waits'] as const),
  ...['read', 'readv', 'recvfrom', 'recvmsg'].map((name) => [name, 'reads'] as const),
  ...['write', 'writev', 'sendto', 'sendmsg'].map((name) => [name, 'writes'] as const),
]);

/** Sums up a table of `strace -c` by what the calls do. */
export function callsOf(table: string): Record<Kind, number> {
  const sums: Record<Kind, number> = { waits: 0, reads: 0, writes: 0, others: 0 };
  for (const line of table.split('\n')) {
    // % time, seconds, usecs/call, calls, and errors where there were any.
    const match = /^ *[\d.]+ +[\d.]+ +\d+ +(\d+)(?: +\d+)? +(\w+)$/.exec(line);
    if (match !== null && match[2] !== 'total') {
      sums[kinds.get(match[2] ?? '') ?? 'others'] += Number(match[1]);
    }
  }
  return sums;
}

/** How many round trips sockperf says there were, its warm-up included. */
export function roundTripsOf(output: string): number {
  const sent = /\[Total Run\].*ReceivedMessages=(\d+)/.exec(output)?.[1];
  if (sent === undefined) {
    throw new MeshError('invalid', `sockperf told no number of messages: ${output.slice(-300)}`);
  }
  return Number(sent);
}

interface Trace {
  /** Ends the trace and answers its table. */
  end(): Promise<string>;
}

async function trace(pids: readonly number[], file: string): Promise<Trace> {
  const args = ['-c', '-f', '-o', file, ...pids.flatMap((pid) => ['-p', String(pid)])];
  const child = spawn('strace', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = once(child, 'exit');
  // It says "attached" on standard error, once for each process.
  const ready = once(child.stderr, 'data');
  const first = await Promise.race([ready.then(() => 'ready'), ended.then(() => 'ended')]);
  if (first === 'ended') {
    throw new MeshError('unsupported', 'strace cannot trace here');
  }
  return {
    end: async () => {
      child.kill('SIGINT');
      await ended;
      return readFileSync(file, 'utf8');
    },
  };
}

const onWay: readonly End[] = ['client', 'server'];

/** Counts the calls of both proxies of a variant during a ping-pong of 64 B. */
export async function countSyscalls(
  lab: Lab,
  variant: Variant,
  seconds: number,
): Promise<SyscallRow[]> {
  const folder = mkdtempSync(join(tmpdir(), 'weft-bench-'));
  try {
    const traces = await Promise.all(
      onWay.map(async (end) => {
        const pids = processesIn(variant.proxyOf(lab, end) ?? '');
        return { node: nodeOf[end], trace: await trace(pids, join(folder, end)) };
      }),
    );
    const server = lab.pod(podOf(variant, 'server')).ipv4;
    const load = [
      'sockperf',
      'ping-pong',
      '--tcp',
      '-i',
      server,
      '-p',
      String(serverPorts.pingPong),
    ];
    const args = ['--msg-size', '64', '--time', String(seconds)];
    const command = ['taskset', '-c', coreOf.client, ...load, ...args];
    const timeoutMs = seconds * 1000 + 30_000;
    // Also when the load fails nobody stays traced.
    const endAll = () =>
      Promise.all(traces.map(async ({ node, trace }) => ({ node, text: await trace.end() })));
    const run = await lab
      .inPod(podOf(variant, 'client'), command, { timeoutMs })
      .catch(async (error: unknown) => {
        await endAll();
        throw error;
      });
    const tables = await endAll();
    const trips = roundTripsOf(run.stdout);
    return tables.map(({ node, text }) => {
      const { waits, reads, writes, others } = callsOf(text);
      const rates = { waits: waits / trips, reads: reads / trips, writes: writes / trips };
      return { variant: variant.name, node, ...rates, others: others / trips };
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Whether a proxy is at the minimum: one wait, one read and one write for each direction. What it
 * does besides (timers, its other threads, the connection's beginning) may come to a twentieth.
 */
export function isMinimal(row: SyscallRow): boolean {
  return [row.waits, row.reads, row.writes].every((count) => count <= 2.1);
}
