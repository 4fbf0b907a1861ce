// SPDX-License-Identifier: Apache-2.0

/** How a burst is merged. */
export interface DebounceTimes {
  /** A run waits for the burst to be quiet for so long... */
  readonly quietMs: number;
  /** ...and at most for so long after the first of what it takes. */
  readonly maxMs: number;
}

/** Runs something at once for what comes alone, and once for many things that come together. */
export class Debouncer {
  readonly #run: () => void;
  readonly #times: DebounceTimes;
  readonly #nowMs: () => number;
  #timer: NodeJS.Timeout | undefined;
  // When something last came, and when the first came that no run has taken yet.
  #lastMs = Number.NEGATIVE_INFINITY;
  #firstMs = 0;

  /**
   * @param run must not throw.
   * @param nowMs a clock that never goes back.
   */
  constructor(run: () => void, times: DebounceTimes, nowMs: () => number) {
    this.#run = run;
    this.#times = times;
    this.#nowMs = nowMs;
  }

  /** Says that something came. It runs now, when nothing came for `quietMs`, or else later. */
  trigger(): void {
    const now = this.#nowMs();
    const isAlone = this.#timer === undefined && now - this.#lastMs >= this.#times.quietMs;
    this.#lastMs = now;
    if (isAlone) {
      this.#run();
    } else if (this.#timer === undefined) {
      this.#firstMs = now;
      this.#wait(now);
    }
  }

  #wait(now: number): void {
    const { quietMs, maxMs } = this.#times;
    const dueMs = Math.min(this.#lastMs + quietMs, this.#firstMs + maxMs);
    this.#timer = setTimeout(() => this.#look(), Math.max(0, dueMs - now));
  }

  // What came in the meantime moved the time, which is cheaper to see now than at each trigger.
  #look(): void {
    const { quietMs, maxMs } = this.#times;
    const now = this.#nowMs();
    if (now < Math.min(this.#lastMs + quietMs, this.#firstMs + maxMs)) {
      this.#wait(now);
    } else {
      this.#timer = undefined;
      this.#run();
    }
  }

  /** Forgets what waits. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
