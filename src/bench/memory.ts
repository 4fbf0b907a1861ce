// SPDX-License-Identifier: Apache-2.0
// What the proxies hold in memory: at rest, for connections that do nothing, and for each pod.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { Lab } from '../lab/lab.ts';
import {
  endProcess,
  type LabProcess,
  processesIn,
  startProcess,
  tailOf,
} from '../lab/processes.ts';
import { isAlive } from '../lab/state.ts';
import { MeshError } from '../lib/error.ts';
import { waitListening } from './envoy-pair.ts';
import { openLine } from './idle.ts';
import { cgroupIn, type Variant } from './rounds.ts';

/** Idle connections held at a time, after none. */
export const idleCounts: readonly number[] = [1_000, 5_000];
/** Enrolled pods on node A besides those of the other workloads. */
export const podCounts: readonly number[] = [10, 100];

/** One reading of one proxy. */
export interface MemoryReading {
  readonly variant: string;
  /** The client's or the server's side. */
  readonly node: string;
  /** What there are `count` of. */
  readonly what: 'connections' | 'pods';
  readonly count: number;
  /** Resident, of all of the proxy's processes. */
  readonly rssKb: number;
  /** Of that, private to the proxy: neither files nor shared memory. */
  readonly anonymousKb: number;
}

const port = 7002;
const program: string = join(import.meta.dirname, 'idle.ts');
const openTimeoutMs = 120_000;
// What a proxy does after its last event, and the allocator after that, is part of the figure.
const settleMs = 2_000;

function kilobytes(status: string, field: string): number {
  const value = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1];
  if (value === undefined) {
    throw new MeshError('unsupported', `no ${field} in /proc/PID/status`);
  }
  return Number(value);
}

/** Resident and private memory in the text of /proc/PID/status. */
export function memoryOf(status: string): { readonly rssKb: number; readonly anonymousKb: number } {
  return { rssKb: kilobytes(status, 'VmRSS'), anonymousKb: kilobytes(status, 'RssAnon') };
}

function read(variant: Variant, what: MemoryReading['what'], count: number): MemoryReading[] {
  return Object.entries(variant.proxies).map(([node, cgroup]) => {
    const all = processesIn(cgroup).map((pid) =>
      memoryOf(readFileSync(`/proc/${pid}/status`, 'latin1')),
    );
    const sum = (key: 'rssKb' | 'anonymousKb'): number =>
      all.reduce((total, each) => total + each[key], 0);
    const sums = { rssKb: sum('rssKb'), anonymousKb: sum('anonymousKb') };
    return { variant: variant.name, node, what, count, ...sums };
  });
}

async function start(lab: Lab, pod: string, name: string, args: string[]): Promise<LabProcess> {
  const { names } = lab.plan;
  return await startProcess({
    name: `pods/${pod}/${name}`,
    netns: lab.pod(pod).netns,
    cgroup: cgroupIn(lab, `pods/${pod}`),
    command: [process.execPath, program, ...args],
    logFile: join(names.folder, 'logs', `${pod}-${name}.log`),
    folder: names.folder,
  });
}

async function waitOpen(client: LabProcess): Promise<void> {
  const until = Date.now() + openTimeoutMs;
  while (!readFileSync(client.logFile, 'utf8').includes(`${openLine}\n`)) {
    if (!isAlive(client) || Date.now() > until) {
      throw new MeshError('unavailable', `${client.name}: ${tailOf(client.logFile)}`);
    }
    await wait(50);
  }
}

/** Reads without connections, and with so many idle ones through one variant. */
export async function idleMemory(lab: Lab, variant: Variant): Promise<MemoryReading[]> {
  const [client, server] = [`${variant.name}-client`, `${variant.name}-server`];
  const readings = read(variant, 'connections', 0);
  const echo = await start(lab, server, 'echo', ['serve', String(port)]);
  try {
    await waitListening(echo, port);
    for (const count of idleCounts) {
      const args = ['open', lab.pod(server).ipv4, String(port), String(count)];
      const holder = await start(lab, client, `idle-${count}`, args);
      await waitOpen(holder);
      await wait(settleMs);
      readings.push(...read(variant, 'connections', count));
      await endProcess(holder, openTimeoutMs);
      await wait(settleMs);
    }
  } finally {
    await endProcess(echo, openTimeoutMs);
  }
  return readings;
}

/** YAML of so many pods on node A that only exist, numbered from `first` on. */
export function emptyPods(namespace: string, first: number, count: number): string {
  const pod = (index: number): string => `apiVersion: v1
kind: Pod
metadata:
  name: empty-${index}
  namespace: ${namespace}
spec:
  nodeName: node-a
  serviceAccountName: client
  containers: []
status:
  podIPs:
    - ip: 10.77.1.${100 + index}
    - ip: fd77:0:0:1::${100 + index}
`;
  return Array.from({ length: count }, (_, at) => pod(first + at)).join('---\n');
}

/** Enrols more and more pods on node A and reads after each step. Only for the mesh itself. */
export async function podMemory(lab: Lab, variant: Variant): Promise<MemoryReading[]> {
  const nodeA = (count: number): MemoryReading[] =>
    read(variant, 'pods', count).filter(({ node }) => node === 'node-a');
  const readings = nodeA(0);
  let there = 0;
  for (const count of podCounts) {
    const text = emptyPods(variant.name, there, count - there);
    writeFileSync(join(lab.meshFolder, `empty-${count}.yaml`), text);
    await lab.addNewPods();
    there = count;
    await wait(settleMs);
    readings.push(...nodeA(count));
  }
  return readings;
}

/** A line of the summary. */
export interface MemoryRow {
  readonly variant: string;
  readonly node: string;
  readonly figure: string;
  readonly kb: number;
}

/** Resident memory at the first reading, and what each connection and each pod added. */
export function memoryRows(readings: readonly MemoryReading[]): MemoryRow[] {
  const series = new Map<string, MemoryReading[]>();
  for (const reading of readings) {
    const key = [reading.variant, reading.node, reading.what].join(' ');
    series.set(key, [...(series.get(key) ?? []), reading]);
  }
  const seen = new Set<string>();
  return [...series.values()].flatMap((steps) => {
    const rows: MemoryRow[] = [];
    for (const [at, { variant, node, what, count, rssKb, anonymousKb }] of steps.entries()) {
      const before = steps[at - 1];
      if (before !== undefined) {
        const kb = (anonymousKb - before.anonymousKb) / (count - before.count);
        const figure = `each of ${what}, ${before.count} to ${count}`;
        rows.push({ variant, node, figure, kb });
      } else if (!seen.has(`${variant} ${node}`)) {
        seen.add(`${variant} ${node}`);
        rows.push({ variant, node, figure: 'resident at rest', kb: rssKb });
      }
    }
    return rows;
  });
}
