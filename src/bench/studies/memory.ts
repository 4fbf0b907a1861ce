// SPDX-License-Identifier: Apache-2.0
// What the proxies hold in memory: at rest, for connections that do nothing, and for each pod; and
// what the kernel holds for the sockets of such connections.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { Lab } from '../../lab/lab.ts';
import {
  endProcess,
  type LabProcess,
  processesIn,
  startProcess,
  tailOf,
} from '../../lab/processes.ts';
import { isAlive } from '../../lab/state.ts';
import { MeshError } from '../../lib/error.ts';
import { serverPorts } from '../mesh.ts';
import { waitListening } from '../sidecars/sidecar.ts';
import { type Row, rowsOf, type Series } from '../summary.ts';
import { cgroupIn, type End, nodeOf, podOf, type Variant } from '../variants/variant.ts';
import { openLine } from './idle.ts';

/** Idle connections held at a time, after none. */
export const idleCounts: readonly number[] = [1, 1_000, 9_000];
/**
 * Settings of Weft's engine meanwhile: by default one pod promises the peers at one address 512 MiB of
 * receive windows, 64 KiB to each connection, which is enough for 8,192 of them.
 */
export const idleEngine: readonly string[] = [`limits.bytesPerPod=${2 ** 31}`];
/** Enrolled pods on node A besides those of the other workloads. */
export const podCounts: readonly number[] = [10, 100];

/** One reading of one proxy. */
export interface MemoryReading {
  readonly variant: string;
  /** The proxy of the client's or the server's side, or the kernel of the machine. */
  readonly place: 'node-a' | 'node-b' | 'kernel';
  /** What there are `count` of. */
  readonly what: 'connections' | 'pods';
  readonly count: number;
  /** Resident, of all of the proxy's processes. */
  readonly rssKb: number;
  /** Of that, private to the proxy: neither files nor shared memory. */
  readonly anonymousKb: number;
}

const port = serverPorts.idle;
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

/** Kernel memory in the texts of /proc/meminfo and /proc/net/sockstat: slabs, and sockets' pages. */
export function kernelKbOf(meminfo: string, sockstat: string): number {
  const pages = /^TCP: .* mem (\d+)$/m.exec(sockstat)?.[1];
  if (pages === undefined) {
    throw new MeshError('unsupported', 'no TCP memory in /proc/net/sockstat');
  }
  return kilobytes(meminfo, 'Slab') + 4 * Number(pages);
}

function readProxy(cgroup: string): Pick<MemoryReading, 'rssKb' | 'anonymousKb'> {
  const all = processesIn(cgroup).map((pid) =>
    memoryOf(readFileSync(`/proc/${pid}/status`, 'latin1')),
  );
  const sum = (key: 'rssKb' | 'anonymousKb'): number =>
    all.reduce((total, each) => total + each[key], 0);
  return { rssKb: sum('rssKb'), anonymousKb: sum('anonymousKb') };
}

const onWay: readonly End[] = ['client', 'server'];

function read(
  lab: Lab,
  variant: Variant,
  what: MemoryReading['what'],
  count: number,
): MemoryReading[] {
  const common = { variant: variant.name, what, count };
  const proxies = onWay.flatMap((end): MemoryReading[] => {
    const cgroup = variant.proxyOf(lab, end);
    return cgroup === undefined ? [] : [{ ...common, place: nodeOf[end], ...readProxy(cgroup) }];
  });
  const [meminfo = '', sockstat = ''] = ['meminfo', 'net/sockstat'].map((name) =>
    readFileSync(`/proc/${name}`, 'latin1'),
  );
  const kb = kernelKbOf(meminfo, sockstat);
  return [...proxies, { ...common, place: 'kernel', rssKb: kb, anonymousKb: kb }];
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

/** Reads without connections, and with so many idle ones through one variant, into `readings`. */
export async function idleMemory(
  lab: Lab,
  variant: Variant,
  readings: MemoryReading[],
): Promise<void> {
  const [client, server] = [podOf(variant, 'client'), podOf(variant, 'server')];
  readings.push(...read(lab, variant, 'connections', 0));
  const echo = await start(lab, server, 'echo', ['serve', String(port)]);
  try {
    await waitListening(echo, port);
    for (const count of idleCounts) {
      const args = ['open', lab.pod(server).ipv4, String(port), String(count)];
      const holder = await start(lab, client, `idle-${count}`, args);
      try {
        await waitOpen(holder);
        await wait(settleMs);
        readings.push(...read(lab, variant, 'connections', count));
      } finally {
        await endProcess(holder, openTimeoutMs);
      }
      await wait(settleMs);
    }
  } finally {
    await endProcess(echo, openTimeoutMs);
  }
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
    read(lab, variant, 'pods', count).filter(({ place }) => place === 'node-a');
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

// What the rest of the machine does meanwhile must be small beside it.
const manyMin = 100;

/** Resident memory at the first reading, and what each connection and each pod added. */
export function memoryRows(readings: readonly MemoryReading[], variants: readonly string[]): Row[] {
  const series = new Map<string, Series & { readonly values: Map<string, Map<number, number>> }>();
  const note = (figure: string, variant: string, kb: number): void => {
    const found = series.get(figure);
    const values = found?.values ?? new Map<string, Map<number, number>>();
    if (!values.has(variant)) {
      values.set(variant, new Map([[1, kb]]));
    }
    series.set(figure, { workload: 'memory', figure, unit: 'KB', values });
  };
  const last = new Map<string, MemoryReading>();
  for (const reading of readings) {
    const { variant, place, what, count, rssKb, anonymousKb } = reading;
    const key = [variant, place, what].join(' ');
    const before = last.get(key);
    last.set(key, reading);
    if (before !== undefined && place === 'kernel' && count - before.count < manyMin) {
      continue;
    }
    if (before !== undefined) {
      const kb = (anonymousKb - before.anonymousKb) / (count - before.count);
      note(`${place}, each of ${what}, ${before.count} to ${count}`, variant, kb);
    } else if (place !== 'kernel') {
      note(`${place}, resident at rest`, variant, rssKb);
    }
  }
  return [...series.values()].flatMap((each) => rowsOf(each, variants));
}
