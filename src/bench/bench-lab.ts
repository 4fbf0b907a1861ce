// SPDX-License-Identifier: Apache-2.0
// A lab for measuring: the pods of every variant, pinned alike.
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Lab } from '../lab/lab.ts';
import { processesIn } from '../lab/processes.ts';
import { labNames } from '../lab/topology.ts';
import { MeshError } from '../lib/error.ts';
import { cgroup2RootOf } from '../lib/machine.ts';
import { mustRun, runProgram } from '../lib/program.ts';
import { meshOf, serverPorts } from './mesh.ts';
import {
  cgroupIn,
  type End,
  ends,
  nodeOf,
  podOf,
  type StartOptions,
  type Variant,
} from './variants/variant.ts';

/** What a lab is for. */
export interface BenchLabOptions {
  /** The lab's name: 1 to 10 small letters and digits. */
  readonly name: string;
  readonly variants: readonly Variant[];
  readonly progress: (text: string) => void;
  /** More manifests, by file name. */
  readonly more?: Readonly<Record<string, string>>;
}

const files: string = join(import.meta.dirname, '../../bench/mesh');

// Thousands of short connections a second: ports and tracked connections must be free again soon.
async function prepareForShortConnections(lab: Lab): Promise<void> {
  const settings = [
    'net.ipv4.tcp_tw_reuse=1',
    'net.ipv4.ip_local_port_range=16384 65000',
    'net.netfilter.nf_conntrack_tcp_timeout_time_wait=1',
  ];
  for (const { netns } of lab.plan.pods) {
    await mustRun('nsenter', [`--net=/run/netns/${netns}`, 'sysctl', '-qw', ...settings]);
  }
}

/** The core of everything at an end. */
export const coreOf: Readonly<Record<End, string>> = {
  client: '0',
  neighbour: '1',
  server: '1',
  sink: '1',
};

/** Pins processes to a core; one that has just ended is no error. */
export async function pinTo(core: string, pids: Iterable<number>): Promise<void> {
  for (const pid of new Set(pids)) {
    const { code, stderr } = await runProgram('taskset', ['-acp', core, String(pid)]);
    if (code !== 0 && !/No such process/.test(stderr)) {
      throw new MeshError('unavailable', `taskset: ${stderr}`);
    }
  }
}

/**
 * Pins every variant alike: what belongs to the client's end to one core, proxy and agent of its
 * node included, and all else to another.
 */
export async function pin(lab: Lab, variants: readonly Variant[]): Promise<void> {
  for (const { name } of lab.plan.nodes) {
    const core = name === nodeOf.client ? coreOf.client : coreOf.server;
    await pinTo(core, processesIn(cgroupIn(lab, name)));
  }
  // A proxy of several ends goes to the core of the first: the client's, or the server's.
  const pinned = new Set<string>();
  for (const variant of variants) {
    for (const end of ends) {
      await pinTo(coreOf[end], processesIn(cgroupIn(lab, `pods/${podOf(variant, end)}`)));
      const proxy = variant.proxyOf(lab, end);
      if (proxy !== undefined && !variant.meshed && !pinned.has(proxy)) {
        pinned.add(proxy);
        await pinTo(coreOf[end], processesIn(proxy));
      }
    }
  }
}

// A program that has just begun still compiles, opens what it keeps and fills caches.
const warmUpCommand = ['wrk', '-t', '1', '-c', '16', '-d', '1s'];

async function warmUp(lab: Lab, variant: Variant): Promise<void> {
  for (const end of ['server', 'neighbour', 'sink'] as const) {
    const url = `http://${lab.pod(podOf(variant, end)).ipv4}:${serverPorts.http}/`;
    const command = ['taskset', '-c', coreOf.client, ...warmUpCommand, url];
    await lab.inPod(podOf(variant, 'client'), command);
  }
}

/**
 * Starts the proxies of all variants afresh, pins everything, and lets each carry something. One
 * that does not start is told to `failed`, and nothing more is done with it; without that it throws
 * what that one threw.
 */
export async function restartAll(
  lab: Lab,
  variants: readonly Variant[],
  options: StartOptions,
  failed?: (variant: Variant, error: unknown) => void,
): Promise<void> {
  const started: Variant[] = [];
  for (const variant of variants) {
    try {
      await variant.start(lab, options);
      started.push(variant);
    } catch (error) {
      if (failed === undefined) {
        throw error;
      }
      failed(variant, error);
    }
  }
  await pin(lab, started);
  for (const variant of started) {
    await warmUp(lab, variant);
  }
}

function writeConfig(options: BenchLabOptions): string {
  const folder = mkdtempSync(join(tmpdir(), 'weft-bench-'));
  cpSync(files, folder, { recursive: true });
  const all = { 'mesh.yaml': meshOf(options.variants), ...options.more };
  for (const [name, text] of Object.entries(all)) {
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

/** Builds a lab, lets `work` measure on it, and removes it; also when the program is interrupted. */
export async function withBenchLab<T>(
  options: BenchLabOptions,
  work: (lab: Lab) => Promise<T>,
): Promise<T> {
  const { name, progress } = options;
  const cgroupRoot = cgroup2RootOf(readFileSync('/proc/self/mounts', 'utf8'));
  if (cgroupRoot === undefined) {
    throw new MeshError('unsupported', 'cgroup v2 is not mounted; mount it or use its hybrid mode');
  }
  const config = writeConfig(options);
  try {
    const lab = await Lab.prepare({ names: labNames(name, cgroupRoot), config, progress });
    return await whileUp(lab, work);
  } finally {
    rmSync(config, { recursive: true, force: true });
  }
}

/** What ends a run whose program is told to end. Work on the lab is left where it stands. */
export const interruption: MeshError = new MeshError('unavailable', 'interrupted');

async function whileUp<T>(lab: Lab, work: (lab: Lab) => Promise<T>): Promise<T> {
  const { promise: interrupted, reject } = Promise.withResolvers<never>();
  const interrupt = (): void => reject(interruption);
  process.once('SIGINT', interrupt);
  process.once('SIGTERM', interrupt);
  const working = async (): Promise<T> => {
    await lab.start();
    await prepareForShortConnections(lab);
    return await work(lab);
  };
  try {
    return await Promise.race([working(), interrupted]);
  } finally {
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
    await lab.stop();
  }
}
