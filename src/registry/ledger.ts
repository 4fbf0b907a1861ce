// SPDX-License-Identifier: Apache-2.0
// Who holds which name and address, and who needs whom, among objects that agree with each other:
// it tells whether a change keeps them agreeing at the cost of the change.
import { idOf, type MeshObject } from '../mesh/objects.ts';
import { claimsOf, referencesOf } from './references.ts';

/** Objects of which no two claim the same, and of which none needs one that is not there. */
export class Ledger {
  readonly #holders: Map<string, MeshObject> = new Map();
  // How many objects need the one of an id.
  readonly #needed: Map<string, number> = new Map();

  /** @param objects that agree, as `crossCheck` says. */
  constructor(objects: Iterable<MeshObject>) {
    for (const object of objects) {
      this.#enter(object);
    }
  }

  /**
   * Takes a change if the objects still agree after it, and returns true; else changes nothing.
   * Objects are known by identity.
   */
  change(removed: readonly MeshObject[], added: readonly MeshObject[]): boolean {
    for (const object of removed) {
      this.#strike(object);
    }
    const entered: MeshObject[] = [];
    const isFree = added.every((object) => {
      const free = claimsOf(object).every((claim) => !this.#holders.has(claim));
      if (free) {
        this.#enter(object);
        entered.push(object);
      }
      return free;
    });
    if (isFree && this.#isWhole(removed, added)) {
      return true;
    }
    for (const object of entered) {
      this.#strike(object);
    }
    for (const object of removed) {
      this.#enter(object);
    }
    return false;
  }

  #isWhole(removed: readonly MeshObject[], added: readonly MeshObject[]): boolean {
    return (
      added.every((object) => referencesOf(object).every(({ id }) => this.#holders.has(id))) &&
      removed.every((object) => this.#holders.has(idOf(object)) || !this.#needed.has(idOf(object)))
    );
  }

  #enter(object: MeshObject): void {
    for (const claim of claimsOf(object)) {
      this.#holders.set(claim, object);
    }
    for (const { id } of referencesOf(object)) {
      this.#needed.set(id, (this.#needed.get(id) ?? 0) + 1);
    }
  }

  #strike(object: MeshObject): void {
    for (const claim of claimsOf(object)) {
      this.#holders.delete(claim);
    }
    for (const { id } of referencesOf(object)) {
      const left = (this.#needed.get(id) ?? 0) - 1;
      if (left > 0) {
        this.#needed.set(id, left);
      } else {
        this.#needed.delete(id);
      }
    }
  }
}
