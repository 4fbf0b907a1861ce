// SPDX-License-Identifier: Apache-2.0
// A folder of YAML manifests as a registry: read once, then watched.
import { createHash } from 'node:crypto';
import { constants, type FSWatcher, watch } from 'node:fs';
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { MeshError } from '../lib/error.ts';
import type { MeshObject } from '../mesh/objects.ts';
import { mergeFiles } from './merge.ts';
import type { Problem } from './problem.ts';
import { fileBytesMax, type ParsedFile, parseManifests } from './yaml-file.ts';

/** What the registry knows at one moment. */
export interface RegistryState {
  readonly objects: readonly MeshObject[];
  /** Everything that is wrong with the files now; empty when all of them are in force. */
  readonly problems: readonly Problem[];
}

/** Settings of a file registry. */
export interface FileRegistryOptions {
  /** Called for each new state but the first. It must not throw. */
  readonly onState: (state: RegistryState) => void;
  /** Called when the folder cannot be read or watched any more; the last state stays in force. */
  readonly onTrouble: (error: MeshError) => void;
}

/** Most files that are read of one folder. */
export const filesMax = 10_000;

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

type Disk =
  | { readonly kind: 'text'; readonly hash: string; readonly text: string }
  | { readonly kind: 'gone' }
  | { readonly kind: 'trouble'; readonly message: string };

const nothing: ParsedFile = { objects: [], problems: [] };

function isManifestName(name: string): boolean {
  return !name.startsWith('.') && /\.ya?ml$/.test(name);
}

// A pipe or a device would never end, and without O_NONBLOCK not even open.
async function readFileAt(path: string): Promise<Disk> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const stats = await handle.stat();
    if (!stats.isFile()) {
      return { kind: 'trouble', message: 'not a regular file' };
    }
    if (stats.size > fileBytesMax) {
      return { kind: 'trouble', message: `larger than ${fileBytesMax} bytes` };
    }
    const text = await handle.readFile('utf8');
    return { kind: 'text', text, hash: createHash('sha256').update(text).digest('hex') };
  } finally {
    await handle.close();
  }
}

async function readDisk(path: string): Promise<Disk> {
  try {
    return await readFileAt(path);
  } catch (thrown) {
    const error = MeshError.from(thrown);
    return error.code === 'unavailable'
      ? { kind: 'gone' }
      : { kind: 'trouble', message: `cannot be read: ${error.message}` };
  }
}

function problemFile(file: string, message: string): ParsedFile {
  const problem: Problem = { severity: 'error', file, line: 1, field: '', message };
  return { objects: [], problems: [problem] };
}

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
  #files: ReadonlyMap<string, FileEntry> = new Map();
  #state: RegistryState;
  #rescan = false;
  #running = false;
  #closed = false;
  #watcher: FSWatcher | undefined;

  private constructor(folder: string, options: FileRegistryOptions) {
    this.#folder = folder;
    this.#options = options;
    this.#state = { objects: [], problems: [] };
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
    return this.#state;
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
      } else {
        // A folder that is switched by a symbolic link shows only the link's name.
        this.#rescan = true;
      }
      void this.#run();
    });
    this.#watcher.on('error', (error) => this.#options.onTrouble(MeshError.from(error)));
  }

  async #list(): Promise<string[]> {
    const names = (await readdir(this.#folder)).filter(isManifestName).sort();
    if (names.length > filesMax) {
      throw new MeshError('limit', `${names.length} files, over the limit of ${filesMax}`);
    }
    return [...new Set([...names, ...this.#files.keys()])];
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
          this.#options.onState(this.#state);
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
    const files = new Map(this.#files);
    for (const name of names) {
      const before = files.get(name);
      const disk = await readDisk(join(this.#folder, name));
      const after = entryOf(name, before, disk);
      if (after !== before && takesAway(before, after) && !mayRemove(name)) {
        continue;
      }
      this.#stopWaiting(name);
      if (after === undefined) {
        files.delete(name);
      } else {
        files.set(name, after);
      }
    }
    return this.#closed ? false : this.#settle(files);
  }

  #settle(files: ReadonlyMap<string, FileEntry>): boolean {
    const unchanged =
      files.size === this.#files.size &&
      [...files].every(([name, entry]) => this.#files.get(name) === entry);
    if (unchanged) {
      return false;
    }
    const sorted = new Map([...files].sort(([a], [b]) => (a < b ? -1 : 1)));
    const { objects, problems, inForce } = mergeFiles(sorted);
    this.#files = new Map(
      [...sorted].map(([name, entry]) => [name, { ...entry, good: inForce.get(name) }]),
    );
    this.#state = { objects: objects.map(({ object }) => object), problems };
    return true;
  }
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
      return before?.hash === disk.hash
        ? before
        : { hash: disk.hash, current: parseManifests(name, disk.text), good: before?.good };
  }
}

// Whether the change loses objects. A file with errors loses none: its good version stays.
function takesAway(before: FileEntry | undefined, after: FileEntry | undefined): boolean {
  const now = (after?.current ?? nothing).objects.length;
  const wrong = after?.current.problems.some(({ severity }) => severity === 'error') ?? false;
  return !wrong && now < (before?.good ?? nothing).objects.length;
}
