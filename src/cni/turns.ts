// SPDX-License-Identifier: Apache-2.0

/** Does what is asked under one key in order, and under different keys side by side. */
export class Turns {
  readonly #last = new Map<string, Promise<void>>();

  /** Runs `work` when all earlier work of `key` is settled; settles as it does. */
  take(key: string, work: () => Promise<void>): Promise<void> {
    const done = (this.#last.get(key) ?? Promise.resolve()).then(work);
    const settled = done
      .catch(() => undefined)
      .then(() => {
        if (this.#last.get(key) === settled) {
          this.#last.delete(key);
        }
      });
    this.#last.set(key, settled);
    return done;
  }
}
