// SPDX-License-Identifier: Apache-2.0

/** How long to wait between attempts. All times in milliseconds. */
export interface BackoffOptions {
  readonly firstMs: number;
  readonly maxMs: number;
  /** Each wait is moved by up to this share, either way, so that peers do not march in step. */
  readonly jitter: number;
}

/** Doubling waits with jitter, never above `maxMs`. */
export class Backoff {
  readonly #options: BackoffOptions;
  readonly #random: () => number;
  #attempts = 0;

  constructor(options: BackoffOptions, random: () => number = Math.random) {
    this.#options = options;
    this.#random = random;
  }

  /** The wait before the next attempt; each call doubles the one after it. */
  next(): number {
    const { firstMs, maxMs, jitter } = this.#options;
    const plain = Math.min(maxMs, firstMs * 2 ** this.#attempts);
    if (plain < maxMs) {
      this.#attempts += 1;
    }
    return Math.min(maxMs, plain * (1 + jitter * (2 * this.#random() - 1)));
  }

  /** Starts over after a success. */
  reset(): void {
    this.#attempts = 0;
  }
}

/** Half of a certificate's life, moved by up to a tenth of its life either way; never negative. */
export function renewalDelayMs(
  life: { readonly notBefore: Date; readonly notAfter: Date },
  now: number,
  random: () => number = Math.random,
): number {
  const length = life.notAfter.getTime() - life.notBefore.getTime();
  const at = life.notBefore.getTime() + length * (0.5 + 0.1 * (2 * random() - 1));
  return Math.max(0, at - now);
}
