// SPDX-License-Identifier: Apache-2.0
// All resources of one type in the order in which they changed, so that what a stream is missing
// costs what changed and not what there is.
import type { EncodedResource, ResourceChange } from './encode.ts';

/** Most removed names that are remembered for streams that did not hear of them yet. */
export const removedNamesMax = 100_000;

interface Entry {
  /** As it is, or as it last was. */
  readonly resource: EncodedResource;
  readonly isThere: boolean;
  /** When it came, changed or went. */
  readonly revision: number;
  /** When it was last bound to those that name it, having been for more before; 0: never. */
  readonly narrowedAt: number;
  older: Entry | undefined;
  newer: Entry | undefined;
}

/** One change, as a stream sees it that comes from an earlier revision. */
export interface Difference {
  readonly resource: EncodedResource;
  /** False when it is gone. */
  readonly isThere: boolean;
  /** It reaches less than it did: its other half has to be in force first. */
  readonly narrows: boolean;
}

// Names by something that they share. A name is in few groups, and most groups are small.
class Groups {
  readonly #groups: Map<string, Set<string>> = new Map();

  change(name: string, before: readonly string[], after: readonly string[]): void {
    for (const group of before) {
      const names = this.#groups.get(group);
      names?.delete(name);
      if (names?.size === 0) {
        this.#groups.delete(group);
      }
    }
    for (const group of after) {
      const names = this.#groups.get(group) ?? new Set();
      this.#groups.set(group, names.add(name));
    }
  }

  of(group: string): Iterable<string> {
    return this.#groups.get(group) ?? [];
  }
}

/** The resources of one type. */
export class ResourceStore {
  readonly #entries: Map<string, Entry> = new Map();
  // In order of removal.
  readonly #gone: Set<string> = new Set();
  readonly #aliases: Groups = new Groups();
  readonly #services: Groups = new Groups();
  readonly #nodes: Groups = new Groups();
  #newest: Entry | undefined;
  #revision = 0;
  #forgottenAt = 0;

  /** The revision that last changed anything. */
  get revision(): number {
    return this.#revision;
  }

  /** How many resources there are. */
  get size(): number {
    return this.#entries.size - this.#gone.size;
  }

  /** Takes a change as of a revision, which grows from call to call. What has its version already
   * stays. Returns whether anything changed. */
  update({ changed, removed }: ResourceChange, revision: number): boolean {
    for (const name of removed) {
      this.#remove(name, revision);
    }
    for (const resource of changed) {
      this.#set(resource, revision);
    }
    return this.#revision === revision;
  }

  #set(resource: EncodedResource, revision: number): void {
    const before = this.#entries.get(resource.name);
    if (before?.isThere === true && before.resource.version === resource.version) {
      return;
    }
    const narrows = resource.boundByName && before?.resource.boundByName === false;
    const narrowedAt = narrows ? revision : (before?.narrowedAt ?? 0);
    this.#put({ resource, isThere: true, revision, narrowedAt }, before);
    this.#gone.delete(resource.name);
  }

  #remove(name: string, revision: number): void {
    const before = this.#entries.get(name);
    if (before?.isThere !== true) {
      return;
    }
    const { resource, narrowedAt } = before;
    this.#put({ resource, isThere: false, revision, narrowedAt }, before);
    this.#gone.add(name);
    if (this.#gone.size > removedNamesMax) {
      this.#forgetOne();
    }
  }

  #put(fields: Omit<Entry, 'older' | 'newer'>, before: Entry | undefined): void {
    const { resource, isThere, revision } = fields;
    if (before !== undefined) {
      this.#unlink(before);
    }
    const entry: Entry = { ...fields, older: this.#newest, newer: undefined };
    if (this.#newest !== undefined) {
      this.#newest.newer = entry;
    }
    this.#newest = entry;
    this.#entries.set(resource.name, entry);
    this.#revision = revision;
    this.#group(
      before?.isThere === true ? before.resource : undefined,
      isThere ? resource : undefined,
    );
  }

  #unlink(entry: Entry): void {
    if (entry.older !== undefined) {
      entry.older.newer = entry.newer;
    }
    if (entry.newer === undefined) {
      this.#newest = entry.older;
    } else {
      entry.newer.older = entry.older;
    }
  }

  #group(before: EncodedResource | undefined, after: EncodedResource | undefined): void {
    const name = (after ?? before)?.name ?? '';
    this.#aliases.change(name, before?.aliases ?? [], after?.aliases ?? []);
    this.#services.change(name, before?.services ?? [], after?.services ?? []);
    const nodeOf = (resource: EncodedResource | undefined): string[] =>
      resource === undefined || resource.node === '' ? [] : [resource.node];
    this.#nodes.change(name, nodeOf(before), nodeOf(after));
  }

  #forgetOne(): void {
    for (const name of this.#gone) {
      const entry = this.#entries.get(name);
      if (entry !== undefined) {
        this.#unlink(entry);
        this.#forgottenAt = entry.revision;
      }
      this.#entries.delete(name);
      this.#gone.delete(name);
      return;
    }
  }

  /** Whether all that changed since a revision is still known. What came from nothing needs none. */
  reachesBack(revision: number): boolean {
    return revision >= this.#forgottenAt;
  }

  /** The resource of a name. */
  get(name: string): EncodedResource | undefined {
    const entry = this.#entries.get(name);
    return entry?.isThere === true ? entry.resource : undefined;
  }

  /** The resources of a name, or of an alias. */
  find(key: string): EncodedResource[] {
    const own = this.get(key);
    return own === undefined ? this.#all(this.#aliases.of(key)) : [own];
  }

  /** The service of a key and its endpoints. */
  ofService(key: string): EncodedResource[] {
    return this.#all(this.#services.of(key));
  }

  /** What runs on a node. */
  ofNode(node: string): EncodedResource[] {
    return this.#all(this.#nodes.of(node));
  }

  #all(names: Iterable<string>): EncodedResource[] {
    return [...names].flatMap((name) => this.get(name) ?? []);
  }

  /** All resources, in no order. */
  *resources(): Generator<EncodedResource> {
    for (const { resource, isThere } of this.#entries.values()) {
      if (isThere) {
        yield resource;
      }
    }
  }

  /** What changed after a revision, in the order in which it did. */
  since(revision: number): Difference[] {
    const found: Difference[] = [];
    let entry = this.#newest;
    while (entry !== undefined && entry.revision > revision) {
      const { resource, isThere, narrowedAt } = entry;
      found.push({ resource, isThere, narrows: isThere && narrowedAt > revision });
      entry = entry.older;
    }
    return found.reverse();
  }
}
