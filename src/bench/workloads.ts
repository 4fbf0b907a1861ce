// SPDX-License-Identifier: Apache-2.0
// What is measured: each workload is one kept load tool, the arguments it gets, and the figures in
// what it prints.
import { MeshError } from '../lib/error.ts';
import { serverPorts } from './mesh.ts';
import type { End, StartOptions } from './variants/variant.ts';
import { vegetaPath } from './vegeta.ts';

/**
 * How TLS is kept: `warm` is what users get, connections of the mesh find a tunnel and sidecars
 * resume their TLS sessions. In the others sidecars make a full handshake for each connection, and
 * the mesh has its tunnels (`handshake`), or a tunnel for each connection: `cold` verifies the
 * peer's chain each time, `cached` knows the peer's certificate, and `resumed` continues a session.
 */
export type Mode = 'warm' | 'handshake' | 'resumed' | 'cached' | 'cold';

const ownTunnel = ['tunnelIdleMs=0', 'limits.streamsPerTunnel=1', 'limits.tunnelsPerPeer=1000'];
const fullHandshake = [...ownTunnel, 'limits.resumableSessions=0'];

/** What proxies are started with in each mode. */
export const modes: Readonly<Record<Mode, StartOptions>> = {
  warm: { sessions: true, engine: [] },
  handshake: { sessions: false, engine: [] },
  // So many connections are begun at a time that each has to find a session of its own.
  resumed: { sessions: false, engine: [...ownTunnel, 'limits.resumablePerPeer=1000'] },
  cached: { sessions: false, engine: fullHandshake },
  cold: { sessions: false, engine: [...fullHandshake, 'limits.verifiedLeaves=0'] },
};

/** One measured figure of a workload. */
export interface Figure {
  readonly name: string;
  readonly unit: string;
  /**
   * The figure, from what the tool printed; undefined when there were too few samples for it.
   * Throws MeshError `invalid` when it is not there.
   */
  readonly parse: (output: string) => number | undefined;
}

/** Programs that workloads are made by. */
export type LoadTool = 'sockperf' | 'wrk' | 'iperf3' | 'vegeta';

/** One load, and what is read from it. */
export interface Workload {
  /** A short name, for flags and results. */
  readonly name: string;
  readonly title: string;
  /** How the mesh is set for it. */
  readonly mode: Mode;
  readonly tool: LoadTool;
  /** What a proxy that does not carry all of TCP has to read. */
  readonly speaks: 'tcp' | 'http';
  /** Which server it goes to: on the other node, or on the client's own. */
  readonly to: Extract<End, 'server' | 'neighbour'>;
  /** The command, against a server's address. */
  readonly command: (server: string, seconds: number) => readonly string[];
  readonly figures: readonly Figure[];
  /** How much was done, for CPU per unit of work: requests, or GB. */
  readonly work?: { readonly unit: 'request' | 'GB'; readonly of: (output: string) => number };
}

/** Fewer samples than this beyond a percentile make it a matter of chance: it is not told. */
export const beyondMin = 10;

/** Whether so many samples say something of the percentile `rank`, in percent. */
export function tells(rank: number, samples: number): boolean {
  return samples * (1 - rank / 100) >= beyondMin - 1e-6;
}

function numberAfter(output: string, pattern: RegExp): number {
  const value = Number(pattern.exec(output)?.[1]);
  if (!Number.isFinite(value)) {
    throw new MeshError('invalid', `the load tool printed no ${pattern}: ${output.slice(-300)}`);
  }
  return value;
}

const escaped = (text: string): string => text.replace('.', '[.]');

// sockperf prints its ranks with three digits behind the point.
function sockperfPercentile(rank: number): Figure {
  const pattern = new RegExp(`percentile ${escaped(rank.toFixed(3))} = +([0-9.]+)`);
  const count = (output: string): number => numberAfter(output, /Total ([0-9]+) observations/);
  const parse = (output: string): number | undefined =>
    tells(rank, count(output)) ? numberAfter(output, pattern) : undefined;
  return { name: `p${rank}`, unit: 'us', parse };
}

type Target = Pick<Workload, 'to'>;

function pingPong(bytes: number, { to }: Target): Workload {
  return {
    name: `${to === 'server' ? '' : 'local-'}rtt${bytes}`,
    title: `round trip of ${bytes} B, 1 connection`,
    mode: 'warm',
    tool: 'sockperf',
    speaks: 'tcp',
    to,
    command: (server, seconds) => [
      ...['sockperf', 'ping-pong', '--tcp', '-i', server, '-p', String(serverPorts.pingPong)],
      ...['--msg-size', String(bytes), '--time', String(seconds), '--full-rtt'],
    ],
    figures: [50, 90, 99, 99.9].map(sockperfPercentile),
  };
}

interface IperfEnd {
  readonly end?: {
    readonly sum_received?: { readonly bits_per_second?: number; readonly bytes?: number };
  };
}

/** What iperf3 says of a transfer, in 10^9. Throws MeshError `invalid` when there was none. */
export function received(output: string, key: 'bits_per_second' | 'bytes'): number {
  const value = (JSON.parse(output) as IperfEnd).end?.sum_received?.[key];
  if (value === undefined || value <= 0) {
    throw new MeshError('invalid', `iperf3 reported no ${key}`);
  }
  return value / 1e9;
}

/** The command of a bulk transfer. */
export function bulkCommand(
  server: string,
  seconds: number,
  load: { readonly connections: number; readonly down: boolean },
): string[] {
  return [
    ...['iperf3', '--client', server, '--port', String(serverPorts.bulk), '--json'],
    ...['--time', String(seconds), '--parallel', String(load.connections)],
    ...(load.down ? ['--reverse'] : []),
  ];
}

function bulk(direction: 'up' | 'down', connections: number, { to }: Target): Workload {
  const way = direction === 'up' ? 'to the server' : 'from the server';
  return {
    name: `${to === 'server' ? '' : 'local-'}${direction}${connections}`,
    title: `bulk ${way}, ${connections === 1 ? '1 connection' : `${connections} connections`}`,
    mode: 'warm',
    tool: 'iperf3',
    speaks: 'tcp',
    to,
    command: (server, seconds) =>
      bulkCommand(server, seconds, { connections, down: direction === 'down' }),
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
  const count = numberAfter(output, /([0-9]+) requests in/);
  if (count === 0) {
    throw new MeshError('invalid', 'wrk: no request was answered');
  }
  return count;
}

const httpUrl = (server: string): string => `http://${server}:${serverPorts.http}/`;

interface HttpLoad extends Partial<Target> {
  readonly connections: number;
  /** A connection for each request. */
  readonly close?: boolean;
  readonly mode?: Mode;
}

function http(name: string, title: string, load: HttpLoad): Workload {
  const { connections, close = false, mode = 'warm', to = 'server' } = load;
  const parse = (output: string): number => {
    requests(output);
    return numberAfter(output, /Requests\/sec: +([0-9.]+)/);
  };
  return {
    name: `${to === 'server' ? '' : 'local-'}${name}`,
    title,
    mode,
    tool: 'wrk',
    speaks: 'http',
    to,
    command: (server, seconds) => [
      ...['wrk', '-t', '1', '-c', String(connections), '-d', `${seconds}s`],
      ...(close ? ['-H', 'Connection: close'] : []),
      httpUrl(server),
    ],
    figures: [{ name: 'rate', unit: 'requests/s', parse }],
    work: { unit: 'request', of: requests },
  };
}

/** A load at a constant rate. */
export interface Pace {
  /** Requests a second. */
  readonly rate: number;
  readonly connections: number;
}

/** Every load at a constant rate. */
export const paces: readonly Pace[] = [
  ...[2, 16, 64].map((connections) => ({ rate: 1000, connections })),
  ...[4000, 8000].map((rate) => ({ rate, connections: 16 })),
];

const paceName = ({ rate, connections }: Pace): string => `pace${rate}x${connections}`;

/** The load of that name; undefined for one of another kind. */
export function paceOf(name: string): Pace | undefined {
  return paces.find((pace) => paceName(pace) === name);
}

// Both ends of the pipe are the same program. The text is constant; what varies are arguments.
const attackAndReport =
  'target=$1 && shift && echo "GET $target" | "$0" attack "$@" | "$0" report -type=json';

/** The command of an open loop at a constant rate: a late answer does not delay the next request. */
export function paceCommand(
  server: string,
  seconds: number,
  { rate, connections }: Pace,
): string[] {
  return [
    ...['sh', '-c', attackAndReport, vegetaPath(), httpUrl(server)],
    ...[`-rate=${rate}/s`, `-duration=${seconds}s`, `-max-connections=${connections}`],
    ...[`-connections=${connections}`, '-timeout=10s', '-redirects=-1'],
  ];
}

interface PaceReport {
  readonly latencies?: Readonly<Record<string, number>>;
  readonly requests?: number;
  readonly rate?: number;
  readonly success?: number;
  readonly errors?: readonly string[] | null;
}

/** Of the rate that is asked for, the tool has to reach this, or it was no open loop. */
export const paceShareMin = 0.99;

/**
 * The report of `paceCommand`. Throws MeshError `invalid` when a request failed, or the tool itself
 * could not keep the rate.
 */
export function paceReportOf(
  output: string,
  { rate: asked }: Pick<Pace, 'rate'>,
): Required<Pick<PaceReport, 'latencies' | 'requests'>> {
  const { latencies, requests: count = 0, ...report } = JSON.parse(output) as PaceReport;
  const { rate = 0, success, errors } = report;
  if (latencies === undefined || success !== 1) {
    throw new MeshError('invalid', `vegeta: ${errors?.slice(0, 3).join('; ') ?? 'no report'}`);
  }
  if (rate < asked * paceShareMin) {
    const reached = `${rate.toFixed(0)} requests a second of ${asked}`;
    throw new MeshError('invalid', `vegeta sent ${reached}: it did not keep its rate`);
  }
  return { latencies, requests: count };
}

/** A percentile of a report, in microseconds. */
export function pacePercentile(rank: 50 | 90 | 99, pace: Pace): Figure {
  const parse = (output: string): number | undefined => {
    const { latencies, requests: count } = paceReportOf(output, pace);
    return tells(rank, count) ? (latencies[`${rank}th`] ?? Number.NaN) / 1000 : undefined;
  };
  return { name: `p${rank}`, unit: 'us', parse };
}

function atPace(pace: Pace): Workload {
  const { rate, connections } = pace;
  return {
    name: paceName(pace),
    title: `HTTP/1.1 of 1 KiB at ${rate} a second, open loop, ${connections} connections`,
    mode: 'warm',
    tool: 'vegeta',
    speaks: 'http',
    to: 'server',
    command: (server, seconds) => paceCommand(server, seconds, pace),
    figures: ([50, 90, 99] as const).map((rank) => pacePercentile(rank, pace)),
    work: { unit: 'request', of: (output) => paceReportOf(output, pace).requests },
  };
}

function tunnels(mode: Exclude<Mode, 'warm'>, connections: number): Workload {
  const own = mode === 'handshake' ? 'a warm tunnel' : `a tunnel of its own, ${mode}`;
  const title = `connect, request, close on ${own}, sidecars with a full handshake: ${connections} at once`;
  return http(`${mode}${connections}`, title, { connections, close: true, mode });
}

const away: Target = { to: 'server' };
const near: Target = { to: 'neighbour' };

/** All workloads, in the order they are run. */
export const workloads: readonly Workload[] = [
  pingPong(64, away),
  pingPong(1024, away),
  ...paces.map(atPace),
  http('http16', 'HTTP/1.1 of 1 KiB, 16 connections', { connections: 16 }),
  http('http64', 'HTTP/1.1 of 1 KiB, 64 connections', { connections: 64 }),
  bulk('up', 1, away),
  bulk('down', 1, away),
  bulk('up', 8, away),
  bulk('down', 8, away),
  http('crr32', 'connect, request, close: 32 at once', { connections: 32, close: true }),
  http('crr128', 'connect, request, close: 128 at once', { connections: 128, close: true }),
  pingPong(64, near),
  http('http64', 'HTTP/1.1 of 1 KiB, 64 connections', { connections: 64, ...near }),
  bulk('down', 1, near),
  http('crr32', 'connect, request, close: 32 at once', { connections: 32, close: true, ...near }),
  ...(['handshake', 'resumed', 'cached', 'cold'] as const).map((mode) => tunnels(mode, 32)),
  ...(['resumed', 'cached'] as const).map((mode) => tunnels(mode, 128)),
];
