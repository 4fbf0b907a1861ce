// SPDX-License-Identifier: Apache-2.0
// A folder of YAML manifests as a registry: read once, then watched.
import { type FSWatcher, watch } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { MeshError } from '../lib/error.ts';
import type { MeshChange, MeshObject } from '../mesh/objects.ts';
import { byText } from '../mesh/selectors.ts';
import { type Disk, isManifestName, listManifests, mayBeOnTheWay, readDisk } from './disk.ts';
import { Ledger } from './ledger.ts';
import { hasErrors, mergeFiles } from './merge.ts';
import type { Problem } from './problem.ts';
import { warningsOf } from './warnings.ts';
import { type ParsedFile, type PlacedObject, parseManifests, problemFile } from './yaml-file.ts';

/** What the registry knows at one moment. */
export interface RegistryState {
  /** The objects in force. An object that did not change is the same as before. */
  readonly objects: ReadonlySet<MeshObject>;
  /** What led here from the state before; at first, from nothing. */
  readonly change: MeshChange;
  /** The errors in the files now; empty when all of them are in force. */
  readonly problems: readonly Problem[];
}

/** Settings of a file registry. */
export interface FileRegistryOptions {
  /** Called for each new state but the first. It must not throw. */
  readonly onState: (state: RegistryState) => void;
  /** Called when the folder cannot be read or watched any more; the last state stays in force. */
  readonly onTrouble: (error: MeshError) => void;
}

/**
 * How long a change that takes objects away waits for the file to be quiet. A program that
 * rewrites a file in place, or renames the old one away first, shows it empty for a moment.
 */
export const removalQuietMs = 20;

interface FileEntry {
  readonly hash: string;
  readonly current: ParsedFile;
  readonly good: ParsedFile | undefined;
}

const nothing: readonly PlacedObject[] = [];

/**
 * The registry of one folder: the `*.yaml` and `*.yml` files directly in it. Every change is
 * taken up at once, and changes that come while one is taken up are merged into the next.
 */
export class FileRegistry {
  readonly #folder: string;
  readonly #options: FileRegistryOptions;
  readonly #pending: Set<string> = new Set();
  // Files whose removals wait, and files whose wait is over.
  readonly #waiting: Map<string, NodeJS.Timeout> = new Map();
  readonly #quiet: Set<string> = new Set();
  readonly #files: Map<string, FileEntry> = new Map();
  readonly #objects: Set<MeshObject> = new Set();
  // While the objects of all files agree: a change then costs what changed.
  #ledger: Ledger | undefined = new Ledger([]);
  // The objects in force where those of the files do not agree.
  #merged: readonly PlacedObject[] = nothing;
  // Errors between files, while they do not agree.
  #crossProblems: readonly Problem[] = [];
  #change: MeshChange = { removed: [], added: [] };
  #rescan = false;
  #running = false;
  #closed = false;
  #watcher: FSWatcher | undefined;

  private constructor(folder: string, options: FileRegistryOptions) {
    this.#folder = folder;
    this.#options = options;
  }

  /** Reads the folder and starts to watch it. Throws MeshError when it cannot be read. */
  static async open(folder: string, options: FileRegistryOptions): Promise<FileRegistry> {
    const registry = new FileRegistry(folder, options);
    try {
      // The watch comes first, so that no change falls between reading and watching.
      registry.#watch();
      await registry.#take(await registry.#list(), () => true);
    } catch (thrown) {
      registry.close();
      throw MeshError.from(thrown);
    }
    registry.#running = false;
    void registry.#run();
    return registry;
  }

  /** The state in force. */
  get state(): RegistryState {
    return { objects: this.#objects, change: this.#change, problems: this.#problems() };
  }

  /** What is allowed and probably not meant; it takes as long as there are objects. */
  warnings(): Problem[] {
    return warningsOf(this.#ledger === undefined ? this.#merged : this.#placed());
  }

  /** Stops watching. No callback comes after it. */
  close(): void {
    this.#closed = true;
    this.#watcher?.close();
    for (const name of this.#waiting.keys()) {
      this.#stopWaiting(name);
    }
  }

  #watch(): void {
    this.#running = true; // until the first reading is done
    this.#watcher = watch(this.#folder, { persistent: true }, (_event, name) => {
      if (name !== null && isManifestName(name)) {
        this.#pending.add(name);
        void this.#run();
      } else {
        void this.#lookAt(name);
      }
    });
    this.#watcher.on('error', (error) => this.#options.onTrouble(MeshError.from(error)));
  }

  // A folder that is switched by a symbolic link shows only the link's name.
  async #lookAt(name: string | null): Promise<void> {
    // The file that was written aside comes before the manifest that it becomes, which is urgent.
    await nextTurn();
    if (name === null || (await mayBeOnTheWay(this.#folder, name))) {
      this.#rescan = true;
      await this.#run();
    }
  }

  async #list(): Promise<string[]> {
    return [...new Set([...(await listManifests(this.#folder)), ...this.#files.keys()])];
  }

  async #run(): Promise<void> {
    if (this.#running || this.#closed) {
      return;
    }
    this.#running = true;
    try {
      while (!this.#closed && (this.#pending.size > 0 || this.#rescan)) {
        const names = new Set(this.#pending);
        this.#pending.clear();
        for (const name of this.#rescan ? await this.#list() : []) {
          names.add(name);
        }
        this.#rescan = false;
        if (await this.#take([...names], (name) => this.#isQuiet(name))) {
          this.#options.onState(this.state);
        }
      }
    } catch (thrown) {
      this.#rescan = false;
      this.#options.onTrouble(MeshError.from(thrown));
    } finally {
      this.#running = false;
    }
  }

  #stopWaiting(name: string): void {
    clearTimeout(this.#waiting.get(name));
    this.#waiting.delete(name);
    this.#quiet.delete(name);
  }

  // Whether a removal in this file has waited long enough; if not, the wait starts again.
  #isQuiet(name: string): boolean {
    if (this.#quiet.has(name)) {
      return true;
    }
    this.#stopWaiting(name);
    const timer = setTimeout(() => {
      this.#quiet.add(name);
      this.#pending.add(name);
      void this.#run();
    }, removalQuietMs);
    this.#waiting.set(name, timer);
    return false;
  }

  // Takes the files up from disk; true when the state changed. The caller alone runs at a time.
  async #take(names: readonly string[], mayRemove: (name: string) => boolean): Promise<boolean> {
    const changed = new Map<string, FileEntry | undefined>();
    for (const name of names) {
      const before = this.#files.get(name);
      const after = entryOf(name, before, await readDisk(join(this.#folder, name)));
      if (after !== before && takesAway(before, after) && !mayRemove(name)) {
        continue;
      }
      this.#stopWaiting(name);
      if (after !== before) {
        changed.set(name, after);
      }
    }
    if (this.#closed || changed.size === 0) {
      return false;
    }
    this.#change = this.#settleQuickly(changed) ?? this.#settle(changed);
    for (const object of this.#change.removed) {
      this.#objects.delete(object);
    }
    for (const object of this.#change.added) {
      this.#objects.add(object);
    }
    return true;
  }

  // When the objects go on to agree; undefined when they do not, and nothing was changed.
  #settleQuickly(changed: ReadonlyMap<string, FileEntry | undefined>): MeshChange | undefined {
    const removed: MeshObject[] = [];
    const added: MeshObject[] = [];
    const settled = new Map<string, FileEntry | undefined>();
    for (const [name, entry] of changed) {
      const good = entry && (hasErrors(entry.current) ? entry.good : entry.current);
      settled.set(name, entry && { ...entry, good });
      const before = objectsOf(this.#files.get(name)?.good);
      const after = objectsOf(good);
      removed.push(...without(before, after));
      added.push(...without(after, before));
    }
    if (this.#ledger?.change(removed, added) !== true) {
      return undefined;
    }
    this.#keep(settled);
    return { removed, added };
  }

  #settle(changed: ReadonlyMap<string, FileEntry | undefined>): MeshChange {
    this.#keep(changed);
    const sorted = new Map([...this.#files].sort(([a], [b]) => byText(a, b)));
    const { objects, problems, inForce, agrees } = mergeFiles(sorted);
    for (const [name, entry] of sorted) {
      this.#files.set(name, { ...entry, good: inForce.get(name) });
    }
    const own = new Set([...sorted.values()].flatMap(({ current }) => current.problems));
    this.#crossProblems = problems.filter((problem) => !own.has(problem));
    const now = new Set(objects.map(({ object }) => object));
    this.#ledger = agrees ? new Ledger(now) : undefined;
    this.#merged = agrees ? nothing : objects;
    return { removed: without(this.#objects, now), added: without(now, this.#objects) };
  }

  #keep(entries: ReadonlyMap<string, FileEntry | undefined>): void {
    for (const [name, entry] of entries) {
      if (entry === undefined) {
        this.#files.delete(name);
      } else {
        this.#files.set(name, entry);
      }
    }
  }

  #placed(): PlacedObject[] {
    return [...this.#files.values()].flatMap(({ good }) => good?.objects ?? nothing);
  }

  #problems(): Problem[] {
    const own = [...this.#files.values()].flatMap(({ current }) => current.problems);
    return [...own, ...this.#crossProblems].sort((a, b) => byText(a.file, b.file));
  }
}

function without<T>(all: ReadonlySet<T>, others: ReadonlySet<T>): T[] {
  return [...all].filter((item) => !others.has(item));
}

function objectsOf(file: ParsedFile | undefined): Set<MeshObject> {
  return new Set(file?.objects.map(({ object }) => object));
}

// The same object as before when nothing changed.
function entryOf(name: string, before: FileEntry | undefined, disk: Disk): FileEntry | undefined {
  switch (disk.kind) {
    case 'gone':
      return undefined;
    case 'trouble': {
      const hash = `trouble: ${disk.message}`;
      return before?.hash === hash
        ? before
        : { hash, current: problemFile(name, disk.message), good: before?.good };
    }
    case 'text':
      return before?.hash === disk.hash ? before : newEntry(name, before, disk);
  }
}

function newEntry(
  name: string,
  before: FileEntry | undefined,
  { hash, text }: Extract<Disk, { kind: 'text' }>,
): FileEntry {
  const good = before?.good;
  return { hash, current: parseManifests(name, text, before?.current), good };
}

// Whether the change loses objects. A file with errors loses none: its good version stays.
function takesAway(before: FileEntry | undefined, after: FileEntry | undefined): boolean {
  const now = (after?.current.objects ?? nothing).length;
  const wrong = after !== undefined && hasErrors(after.current);
  return !wrong && now < (before?.good?.objects ?? nothing).length;
}
