// SPDX-License-Identifier: Apache-2.0
// The connection events of an engine, for tests that wait for one of them.
import type { ConnectionEvent, EventBatch } from '../../native/index.ts';

const waitMs = 10_000;

type Wanted = (event: ConnectionEvent) => boolean;

interface Waiter {
  readonly wanted: Wanted;
  resolve(event: ConnectionEvent): void;
}

/** Keeps each event until a test takes it. */
export class EventLog {
  #kept: ConnectionEvent[] = [];
  #waiters: Waiter[] = [];

  /** To be given to the engine. */
  readonly add = (batch: EventBatch): void => {
    for (const event of batch.connections) {
      const waiter = this.#waiters.find((each) => each.wanted(event));
      if (waiter === undefined) {
        this.#kept.push(event);
      } else {
        this.#waiters = this.#waiters.filter((each) => each !== waiter);
        waiter.resolve(event);
      }
    }
  };

  /** The oldest event that is wanted, when it comes; each event is given out once. */
  take(wanted: Wanted): Promise<ConnectionEvent> {
    const kept = this.#kept.find(wanted);
    if (kept !== undefined) {
      this.#kept = this.#kept.filter((event) => event !== kept);
      return Promise.resolve(kept);
    }
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const seen = this.#kept.map(({ kind, reason, destinationAddress, detail }) =>
          [kind, reason, destinationAddress, detail].join(' '),
        );
        reject(new Error(`no such event; there were: ${seen.join('; ')}`));
      }, waitMs);
      const done = (event: ConnectionEvent): void => {
        clearTimeout(timer);
        resolve(event);
      };
      this.#waiters.push({ wanted, resolve: done });
    });
  }

  /** Those that no test has taken. */
  get kept(): readonly ConnectionEvent[] {
    return this.#kept;
  }
}
