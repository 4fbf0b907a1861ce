// SPDX-License-Identifier: Apache-2.0
// Selectors, and the lookups that a snapshot is built with.
import { keyOf, type Labels } from './objects.ts';

/** What a selector chooses from. */
export interface Labelled {
  readonly labels: Labels;
}

/** Text order by code unit, so that the bytes sent do not depend on the locale. */
export function byText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

/** Whether every label of the selector stands on the object. An empty selector selects all. */
export function selects(selector: Labels, labels: Labels): boolean {
  for (const key in selector) {
    if (labels[key] !== selector[key]) {
      return false;
    }
  }
  return true;
}

/** Whether two selectors choose the same. */
export function sameLabels(a: Labels | undefined, b: Labels | undefined): boolean {
  if (a === undefined || b === undefined) {
    return a === b;
  }
  return Object.keys(a).length === Object.keys(b).length && selects(a, b);
}

/** Namespaced objects by key, and by namespace. */
export class Table<T extends { readonly namespace: string; readonly name: string }> {
  readonly #all: Map<string, T> = new Map();
  readonly #spaces: Map<string, Map<string, T>> = new Map();

  /** Adds an object in the place of any other of the same key, or takes it out. */
  keep(object: T, isThere: boolean): void {
    if (isThere) {
      const key = keyOf(object);
      const space = this.#spaces.get(object.namespace) ?? new Map<string, T>();
      this.#spaces.set(object.namespace, space.set(key, object));
      this.#all.set(key, object);
    } else {
      this.#remove(object);
    }
  }

  #remove(object: T): void {
    const key = keyOf(object);
    const space = this.#spaces.get(object.namespace);
    space?.delete(key);
    if (space?.size === 0) {
      this.#spaces.delete(object.namespace);
    }
    this.#all.delete(key);
  }

  /** The object of a key. */
  get(key: string): T | undefined {
    return this.#all.get(key);
  }

  /** All objects of a namespace, in no order, to be gone through once. */
  in(namespace: string): Iterable<T> {
    return this.#spaces.get(namespace)?.values() ?? [];
  }

  /** All objects, in no order, to be gone through once. */
  values(): Iterable<T> {
    return this.#all.values();
  }
}

/** Sets of keys by a name that they share. */
export class Groups {
  readonly #groups: Map<string, Set<string>> = new Map();

  /** Adds a key to a group. */
  add(group: string, key: string): void {
    const keys = this.#groups.get(group) ?? new Set();
    this.#groups.set(group, keys.add(key));
  }

  /** Takes a key out of a group. */
  remove(group: string, key: string): void {
    const keys = this.#groups.get(group);
    keys?.delete(key);
    if (keys?.size === 0) {
      this.#groups.delete(group);
    }
  }

  /** The keys of a group, in no order. */
  of(group: string): ReadonlySet<string> {
    return this.#groups.get(group) ?? noKeys;
  }

  /** Whether a group has any key. */
  has(group: string): boolean {
    return this.#groups.has(group);
  }
}

const noKeys: ReadonlySet<string> = new Set();
