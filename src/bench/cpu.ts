// SPDX-License-Identifier: Apache-2.0
// Who used the processors: the kernel's own books, read before and after.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { MeshError } from '../lib/error.ts';

/** Linux counts the machine's time in these for user space, whatever the kernel's own tick is. */
const ticksPerSecond = 100;

/** CPU seconds of all processors since boot. */
export interface MachineCpu {
  /** User, system and interrupts. */
  readonly busy: number;
  /** Wanted, but given to another guest by the host. */
  readonly steal: number;
}

/** Reads the text of /proc/stat. */
export function machineCpuOf(text: string): MachineCpu {
  const line = text.split('\n').find((each) => each.startsWith('cpu '));
  const [user, nice, system, , , irq, softirq, steal] = (line ?? '').split(/ +/).slice(1);
  const seconds = (...ticks: (string | undefined)[]): number =>
    ticks.reduce((sum, each) => sum + Number(each ?? Number.NaN), 0) / ticksPerSecond;
  return { busy: seconds(user, nice, system, irq, softirq), steal: seconds(steal) };
}

/** CPU seconds of the processes in a cgroup v2 folder and those below it, ended ones included. */
export function cgroupCpuSeconds(folder: string): number {
  const text = readFileSync(join(folder, 'cpu.stat'), 'utf8');
  const micros = /^usage_usec (\d+)$/m.exec(text)?.[1];
  if (micros === undefined) {
    throw new MeshError('unsupported', `${folder}: no usage_usec in cpu.stat`);
  }
  return Number(micros) / 1e6;
}

/** The cgroups of one measurement. */
export interface MeterPlaces {
  /** The root of the hierarchy: everybody. */
  readonly root: string;
  /** All that belongs to the measurement. */
  readonly lab: string;
  readonly proxies: readonly string[];
  /** The load tool and the server. */
  readonly apps: readonly string[];
}

/** CPU seconds, and seconds of time. */
export interface Usage {
  readonly wall: number;
  readonly proxies: number;
  /**
   * All that the machine was busy, less load tool, server and strangers: the proxies, and the
   * kernel's work in interrupts that is on nobody's account.
   */
  readonly path: number;
  readonly apps: number;
  /** By processes that have nothing to do with the measurement. */
  readonly strangers: number;
  readonly steal: number;
}

interface Reading extends MachineCpu {
  readonly wall: number;
  readonly everybody: number;
  readonly lab: number;
  readonly proxies: number;
  readonly apps: number;
}

function read(places: MeterPlaces): Reading {
  const sum = (folders: readonly string[]): number =>
    folders.reduce((total, folder) => total + cgroupCpuSeconds(folder), 0);
  return {
    ...machineCpuOf(readFileSync('/proc/stat', 'latin1')),
    wall: performance.now() / 1000,
    everybody: cgroupCpuSeconds(places.root),
    lab: cgroupCpuSeconds(places.lab),
    proxies: sum(places.proxies),
    apps: sum(places.apps),
  };
}

/** Starts to measure; the function it returns ends that and answers what was used in between. */
export function meter(places: MeterPlaces): () => Usage {
  const before = read(places);
  return () => {
    const after = read(places);
    const used = (key: keyof Reading): number => after[key] - before[key];
    const strangers = Math.max(0, used('everybody') - used('lab'));
    return {
      wall: used('wall'),
      proxies: used('proxies'),
      path: Math.max(0, used('busy') - used('apps') - strangers),
      apps: used('apps'),
      strangers,
      steal: used('steal'),
    };
  };
}
