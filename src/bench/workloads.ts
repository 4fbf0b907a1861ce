// SPDX-License-Identifier: Apache-2.0
// What is measured: each workload is one kept load tool, the arguments it gets, and the figures in
// what it prints.
import { MeshError } from '../lib/error.ts';

/**
 * Whether connections find a tunnel: `warm` is what a user gets. In the others each has a tunnel of
 * its own: `cold` verifies the peer's chain each time, `cached` knows the peer's certificate, and
 * `resumed` continues a TLS session.
 */
export type Mode = 'warm' | 'resumed' | 'cached' | 'cold';

const ownTunnel = ['tunnelIdleMs=0', 'limits.streamsPerTunnel=1', 'limits.tunnelsPerPeer=1000'];
const fullHandshake = [...ownTunnel, 'limits.resumableSessions=0'];

/** The engine's settings for each mode. */
export const modes: Readonly<Record<Mode, readonly string[]>> = {
  warm: [],
  // So many connections are begun at a time that each has to find a session of its own.
  resumed: [...ownTunnel, 'limits.resumablePerPeer=1000'],
  cached: fullHandshake,
  cold: [...fullHandshake, 'limits.verifiedLeaves=0'],
};

/** One measured figure of a workload. */
export interface Figure {
  readonly name: string;
  readonly unit: string;
  /** The figure, from what the tool printed. Throws MeshError `invalid` when it is not there. */
  readonly parse: (output: string) => number;
}

/** One load, and what is read from it. */
export interface Workload {
  /** A short name, for flags and results. */
  readonly name: string;
  readonly title: string;
  /** How the mesh is set for it. */
  readonly mode: Mode;
  /** The tool and its arguments, against a server's address. */
  readonly command: (server: string, seconds: number) => readonly string[];
  readonly figures: readonly Figure[];
  /** How much was done, for CPU per unit of work: requests, or GB. */
  readonly work?: { readonly unit: 'request' | 'GB'; readonly of: (output: string) => number };
}

function numberAfter(output: string, pattern: RegExp): number {
  const value = Number(pattern.exec(output)?.[1]);
  if (!Number.isFinite(value)) {
    throw new MeshError('invalid', `the load tool printed no ${pattern}: ${output.slice(-300)}`);
  }
  return value;
}

function percentile(rank: string): Figure {
  const pattern = new RegExp(`percentile ${rank.replace('.', '[.]')}0* = +([0-9.]+)`);
  const name = `p${Number(rank)}`;
  return { name, unit: 'us', parse: (output) => numberAfter(output, pattern) };
}

interface IperfEnd {
  readonly end?: {
    readonly sum_received?: { readonly bits_per_second?: number; readonly bytes?: number };
  };
}

function received(output: string, key: 'bits_per_second' | 'bytes'): number {
  const value = (JSON.parse(output) as IperfEnd).end?.sum_received?.[key];
  if (value === undefined) {
    throw new MeshError('invalid', `iperf3 reported no ${key}`);
  }
  return value / 1e9;
}

function bulk(direction: 'up' | 'down', connections: number): Workload {
  const way = direction === 'up' ? 'to the server' : 'from the server';
  return {
    name: `${direction}${connections}`,
    title: `bulk ${way}, ${connections === 1 ? '1 connection' : `${connections} connections`}`,
    mode: 'warm',
    command: (server, seconds) => [
      ...['iperf3', '--client', server, '--port', '7001', '--json', '--time', String(seconds)],
      ...['--parallel', String(connections)],
      ...(direction === 'down' ? ['--reverse'] : []),
    ],
    figures: [
      { name: 'rate', unit: 'Gbit/s', parse: (output) => received(output, 'bits_per_second') },
    ],
    work: { unit: 'GB', of: (output) => received(output, 'bytes') },
  };
}

// A failed request would count as a fast one.
function requests(output: string): number {
  const trouble = /^ *(Socket errors:|Non-2xx).*$/m.exec(output)?.[0];
  if (trouble !== undefined) {
    throw new MeshError('invalid', `wrk: ${trouble.trim()}`);
  }
  return numberAfter(output, /([0-9]+) requests in/);
}

interface HttpLoad {
  readonly connections: number;
  /** A connection for each request. */
  readonly close?: boolean;
  readonly mode?: Mode;
}

function http(name: string, title: string, load: HttpLoad): Workload {
  const { connections, close = false, mode = 'warm' } = load;
  const parse = (output: string): number =>
    requests(output) && numberAfter(output, /Requests\/sec: +([0-9.]+)/);
  return {
    name,
    title,
    mode,
    command: (server, seconds) => [
      ...['wrk', '-t', '1', '-c', String(connections), '-d', `${seconds}s`],
      ...(close ? ['-H', 'Connection: close'] : []),
      `http://${server}:8080/`,
    ],
    figures: [{ name: 'rate', unit: 'requests/s', parse }],
    work: { unit: 'request', of: requests },
  };
}

/** All workloads, in the order they are run. */
export const workloads: readonly Workload[] = [
  {
    name: 'rtt64',
    title: 'round trip of 64 B, 1 connection',
    mode: 'warm',
    command: (server, seconds) => [
      ...['sockperf', 'ping-pong', '--tcp', '-i', server, '-p', '7000'],
      ...['--msg-size', '64', '--time', String(seconds), '--full-rtt'],
    ],
    figures: [percentile('50.0'), percentile('99.0')],
  },
  http('http64', 'HTTP/1.1 of 1 KiB, 64 connections', { connections: 64 }),
  bulk('up', 1),
  bulk('down', 1),
  bulk('up', 8),
  bulk('down', 8),
  http('crr32', 'connect, request, close: 32 at once', { connections: 32, close: true }),
  http('crr128', 'connect, request, close: 128 at once', { connections: 128, close: true }),
  ...(['resumed', 'cached', 'cold'] as const).map((mode) => {
    const title = `the same on a tunnel of its own, ${mode}: 32 at once`;
    return http(`${mode}32`, title, { connections: 32, close: true, mode });
  }),
];
