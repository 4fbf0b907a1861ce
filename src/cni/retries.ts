// SPDX-License-Identifier: Apache-2.0
import { Backoff } from '../lib/backoff.ts';

/** First and longest wait until what failed for a pod is tried again. */
export const retryFirstMs = 1_000;
export const retryMaxMs = 60_000;

interface Retry {
  readonly backoff: Backoff;
  timer: NodeJS.Timeout | undefined;
}

/** One timer per key, each with its own backoff. They do not keep the process alive. */
export class Retries {
  readonly #byKey = new Map<string, Retry>();

  /** Calls `work` once after the key's next wait, in place of what waits; returns the wait in ms. */
  later(key: string, work: () => void): number {
    let retry = this.#byKey.get(key);
    if (retry === undefined) {
      const backoff = new Backoff({ firstMs: retryFirstMs, maxMs: retryMaxMs, jitter: 0.2 });
      retry = { backoff, timer: undefined };
      this.#byKey.set(key, retry);
    }
    clearTimeout(retry.timer);
    const waitMs = Math.round(retry.backoff.next());
    retry.timer = setTimeout(work, waitMs).unref();
    return waitMs;
  }

  /** Nothing of this key is tried any more; its backoff begins anew. */
  stop(key: string): void {
    clearTimeout(this.#byKey.get(key)?.timer);
    this.#byKey.delete(key);
  }
}
