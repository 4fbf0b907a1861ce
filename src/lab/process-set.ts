// SPDX-License-Identifier: Apache-2.0
// The processes of one lab by name: started, waited for, killed, started again, ended.
import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { MeshError } from '../lib/error.ts';
import type { Places } from './places.ts';
import {
  endProcess,
  killProcess,
  type LabProcess,
  type ProcessSpec,
  startProcess,
  tailOf,
} from './processes.ts';
import { isAlive } from './state.ts';

/** How long a process may take until it says that it is ready. */
export const startTimeoutMs = 20_000;
/** How long processes may take to end by themselves. */
export const stopTimeoutMs = 8_000;

const pollMs = 50;

/** A name that is started again stands for the newer process. */
export class ProcessSet {
  readonly #places: Places;
  readonly #processes = new Map<string, LabProcess>();
  readonly #specs = new Map<string, ProcessSpec>();
  #stopped = false;

  constructor(places: Places) {
    this.#places = places;
  }

  /** The process called `name`. Throws MeshError `invalid` when there is none. */
  get(name: string): LabProcess {
    const found = this.#processes.get(name);
    if (found === undefined) {
      throw new MeshError('invalid', `there is no process ${name}`);
    }
    return found;
  }

  /** All of them. */
  all(): LabProcess[] {
    return [...this.#processes.values()];
  }

  /** Starts a program under this name; its output goes to its log, its folder is the lab's. */
  async spawn(
    name: string,
    netns: string,
    command: readonly string[],
    folder: string = this.#places.names.folder,
  ): Promise<LabProcess> {
    return await this.#run({
      ...{ name, netns, command, folder },
      cgroup: this.#places.cgroup(name),
      logFile: this.#places.log(name),
    });
  }

  /** Ends a process as a crash does: at once, and with no word to anybody. */
  async kill(name: string): Promise<void> {
    await killProcess(this.get(name));
  }

  /**
   * Starts a process that has ended once more. Its command becomes what `change` makes of it, for
   * this time. The log goes on in the same file.
   */
  async restart(
    name: string,
    change: (command: readonly string[]) => readonly string[] = (command) => command,
  ): Promise<LabProcess> {
    const spec = this.#specs.get(name);
    if (spec === undefined) {
      throw new MeshError('invalid', `there is no process ${name}`);
    }
    const started = await this.#run({ ...spec, command: change(spec.command) });
    this.#specs.set(name, spec);
    return started;
  }

  /** Starts a process beside the one that has its name so far, and answers that one. */
  async replace(name: string): Promise<LabProcess> {
    const before = this.get(name);
    const spec = this.#specs.get(name);
    if (spec === undefined) {
      throw new MeshError('invalid', `there is no process ${name}`);
    }
    await this.#run(spec);
    return before;
  }

  /**
   * Resolves when `check` holds; one that rejects does not hold yet. A process of `needed` that
   * ends before fails it at once, with its last words. Throws MeshError `unavailable` or `timeout`.
   */
  async waitFor(
    what: string,
    needed: readonly LabProcess[],
    check: () => Promise<boolean>,
  ): Promise<void> {
    const until = Date.now() + startTimeoutMs;
    while (!(await check().catch(() => false))) {
      for (const each of needed) {
        if (!isAlive(each)) {
          const how = await each.ended;
          throw new MeshError('unavailable', `${each.name}: ${how}\n${tailOf(each.logFile)}`);
        }
      }
      if (this.#stopped || Date.now() > until) {
        throw new MeshError('timeout', `${what}: not within ${startTimeoutMs} ms`);
      }
      await wait(pollMs);
    }
  }

  /** From now on this program may end before they do. */
  release(): void {
    for (const each of this.#processes.values()) {
      each.release();
    }
  }

  /** Asks all to end and waits for those that do. From now on none is started. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.all().map((each) => endProcess(each, stopTimeoutMs)));
  }

  async #run(spec: ProcessSpec): Promise<LabProcess> {
    if (this.#stopped) {
      throw new MeshError('unavailable', 'the lab is being taken down');
    }
    const started = await startProcess(spec);
    this.#specs.set(spec.name, spec);
    this.#processes.set(spec.name, started);
    return started;
  }
}

/** Whether all of these TCP ports have a listener in the network namespace of a process. */
// From /proc, because a probing connection would be captured like any other.
export function listens(pid: number, wanted: readonly number[]): boolean {
  const tables = ['tcp', 'tcp6'].map((name) => readFileSync(`/proc/${pid}/net/${name}`, 'latin1'));
  return wanted.every((port) => {
    const suffix = port.toString(16).toUpperCase().padStart(4, '0');
    return tables.some((table) => new RegExp(`:${suffix} [0-9A-F]+:0000 0A `).test(table));
  });
}
