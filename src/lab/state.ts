// SPDX-License-Identifier: Apache-2.0
// What a lab has made, on disk, so that a killed one can be found and removed.
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { MeshError } from '../lib/error.ts';
import type { LabNames } from './topology.ts';

/** A process that cannot be mistaken for a later one with its number. */
export interface ProcessMark {
  readonly pid: number;
  /** In clock ticks since boot. */
  readonly startTime: string;
}

/** Where a pod's processes run. */
export interface PodPlace {
  readonly netns: string;
  readonly cgroup: string;
}

/** The content of a lab's state file. */
export interface LabState {
  readonly version: 1;
  readonly owner: ProcessMark;
  /** True when the lab was left running on purpose. */
  readonly kept: boolean;
  /** By pod name. */
  readonly pods: Readonly<Record<string, PodPlace>>;
}

const schema: z.ZodType<LabState> = z.strictObject({
  version: z.literal(1),
  owner: z.strictObject({ pid: z.number().int().positive(), startTime: z.string() }),
  kept: z.boolean(),
  pods: z.record(z.string(), z.strictObject({ netns: z.string(), cgroup: z.string() })),
});

/** When a process was started, in ticks since boot; undefined when there is none. */
export function startTimeOf(pid: number): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name in parentheses may hold anything; the 22nd field is the 20th after it.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    // One that has ended and waits for its parent to notice is no process any more.
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

/** Marks a running process. Throws MeshError `unavailable` when it has ended. */
export function markProcess(pid: number): ProcessMark {
  const startTime = startTimeOf(pid);
  if (startTime === undefined) {
    throw new MeshError('unavailable', `process ${pid} has ended`);
  }
  return { pid, startTime };
}

/** Whether the very process that was marked still runs. */
export function isAlive(mark: ProcessMark): boolean {
  return startTimeOf(mark.pid) === mark.startTime;
}

const pathIn = (names: LabNames): string => join(names.folder, 'state.json');

/** Writes the state in one step (folder 0700, file 0600). */
export function saveState(names: LabNames, state: LabState): void {
  mkdirSync(names.folder, { recursive: true, mode: 0o700 });
  const path = pathIn(names);
  writeFileSync(`${path}.new`, JSON.stringify(state), { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** Reads the state; undefined when there is none or it cannot be read, as after a crash. */
export function loadState(names: LabNames): LabState | undefined {
  try {
    return schema.parse(JSON.parse(readFileSync(pathIn(names), 'utf8')));
  } catch {
    return undefined;
  }
}

/** Removes the lab's folder, and that of its keys; what is mounted in the former was unmounted. */
export function removeFolder(names: LabNames): void {
  rmSync(names.keys, { recursive: true, force: true });
  rmSync(names.folder, { recursive: true, force: true });
}
