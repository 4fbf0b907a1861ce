// SPDX-License-Identifier: Apache-2.0
// Who used the processors: the kernel's own books, read before and after.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { processesIn } from '../lab/processes.ts';
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

// In the fields of /proc/PID/stat behind the name: a kernel thread's flag, and where times begin.
const kernelThread = 0x0020_0000;
const [flagsAt, timesAt, timesOf] = [6, 11, 4];

/**
 * CPU seconds of a process in the text of its /proc/PID/stat, with those of the children that it
 * waited for: what is short-lived is on its parent's account. 0 for a thread of the kernel, whose
 * work is for everybody.
 */
export function processCpuOf(text: string, withChildren = true): number {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  if ((Number(fields[flagsAt]) & kernelThread) !== 0) {
    return 0;
  }
  const ticks = fields.slice(timesAt, timesAt + (withChildren ? timesOf : 2));
  return ticks.reduce((sum, each) => sum + Number(each), 0) / ticksPerSecond;
}

// Of a process that ends meanwhile nothing is left to read.
function textIfThere(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}

/**
 * CPU seconds of all processes in `proc` that `isOurs` does not name. The children of this process
 * are load tools, so they are left out.
 */
export function strangersCpuSeconds(proc: string, isOurs: (pid: number) => boolean): number {
  let sum = 0;
  for (const name of readdirSync(proc)) {
    const pid = Number(name);
    if (Number.isInteger(pid) && !isOurs(pid)) {
      const text = textIfThere(join(proc, name, 'stat'));
      sum += text === '' ? 0 : processCpuOf(text, pid !== process.pid);
    }
  }
  return sum;
}

/** The cgroups of one measurement. */
export interface MeterPlaces {
  /** Where all processes are, as in /proc. */
  readonly proc: string;
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
  readonly others: number;
  readonly proxies: number;
  readonly apps: number;
}

function read(places: MeterPlaces): Reading {
  const sum = (folders: readonly string[]): number =>
    folders.reduce((total, folder) => total + cgroupCpuSeconds(folder), 0);
  const ours = new Set(processesIn(places.lab));
  return {
    ...machineCpuOf(readFileSync('/proc/stat', 'latin1')),
    wall: performance.now() / 1000,
    others: strangersCpuSeconds(places.proc, (pid) => ours.has(pid)),
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
    const strangers = Math.max(0, used('others'));
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
