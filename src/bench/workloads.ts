// SPDX-License-Identifier: Apache-2.0
// What is measured: each workload is one kept load tool, the arguments it gets, and the figure in
// what it prints.
import { MeshError } from '../lib/error.ts';

/** One measured figure. Lower or higher is better as `better` says. */
export interface Workload {
  readonly name: string;
  readonly unit: string;
  readonly better: 'lower' | 'higher';
  /** The tool and its arguments, against a server's address. */
  readonly command: (server: string, seconds: number) => readonly string[];
  /** The figure, from what the tool printed. Throws MeshError `invalid` when it is not there. */
  readonly parse: (output: string) => number;
  /** How much work the figure stands for, for CPU per unit of work: requests, or GB. */
  readonly work?: { readonly unit: string; readonly of: (output: string) => number };
}

function numberAfter(output: string, pattern: RegExp): number {
  const value = Number(pattern.exec(output)?.[1]);
  if (!Number.isFinite(value)) {
    throw new MeshError('invalid', `the load tool printed no ${pattern}: ${output.slice(-300)}`);
  }
  return value;
}

function pingPong(name: string, percentile: string): Workload {
  return {
    name,
    unit: 'us',
    better: 'lower',
    command: (server, seconds) => [
      ...['sockperf', 'ping-pong', '--tcp', '-i', server, '-p', '7000'],
      ...['--msg-size', '64', '--time', String(seconds), '--full-rtt'],
    ],
    parse: (output) => numberAfter(output, new RegExp(`percentile ${percentile} = +([0-9.]+)`)),
  };
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

function bulk(name: string, direction: readonly string[]): Workload {
  return {
    name,
    unit: 'Gbit/s',
    better: 'higher',
    command: (server, seconds) => [
      ...['iperf3', '--client', server, '--port', '7001', '--json'],
      ...['--time', String(seconds), ...direction],
    ],
    parse: (output) => received(output, 'bits_per_second'),
    work: { unit: 'GB', of: (output) => received(output, 'bytes') },
  };
}

/** All workloads, in the order they are run. */
export const workloads: readonly Workload[] = [
  pingPong('round trip of 64 B, p50', '50.000'),
  pingPong('round trip of 64 B, p99', '99.000'),
  {
    name: 'HTTP/1.1 of 1 KiB, 64 connections',
    unit: 'requests/s',
    better: 'higher',
    command: (server, seconds) => [
      ...['wrk', '-t', '1', '-c', '64', '-d', `${seconds}s`, `http://${server}:8080/`],
    ],
    parse: (output) => numberAfter(output, /Requests\/sec: +([0-9.]+)/),
    work: { unit: 'request', of: (output) => numberAfter(output, /([0-9]+) requests in/) },
  },
  bulk('bulk to the server, 1 connection', []),
  bulk('bulk from the server, 1 connection', ['--reverse']),
];
