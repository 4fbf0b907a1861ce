// SPDX-License-Identifier: Apache-2.0
// How far a measurement is: a bar with the time left on a terminal, plain lines elsewhere.
import type { WriteStream } from 'node:tty';

const width = 30;

/** Minutes and seconds, as "4:07". */
export function clockText(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`;
}

/** The bar at `done` of `total` steps, of which the first took `elapsed` seconds together. */
export function barText(done: number, total: number, elapsed: number): string {
  const share = total === 0 ? 1 : Math.min(1, done / total);
  const full = Math.round(share * width);
  const left = done === 0 ? '' : `, ${clockText((elapsed / done) * (total - done))} left`;
  return `[${'#'.repeat(full)}${'.'.repeat(width - full)}] ${done} of ${total}${left}`;
}

/** Tells a person how far it is. */
export class Progress {
  readonly #out: Pick<WriteStream, 'write'> & { readonly isTTY?: boolean };
  readonly #startedMs = performance.now();
  #total = 0;
  #done = 0;

  constructor(out: Pick<WriteStream, 'write'> & { readonly isTTY?: boolean }) {
    this.#out = out;
  }

  /** So many steps are to come besides those known so far. */
  expect(steps: number): void {
    this.#total += steps;
  }

  /** So many steps are behind us. */
  done(steps: number): void {
    this.#done += steps;
    this.#draw();
  }

  /** Something to know, on a line of its own. */
  note(text: string): void {
    this.#out.write(this.#isTerminal ? `\r\x1b[K  ${text}\n` : `  ${text}\n`);
    this.#draw();
  }

  /** Takes the bar away. */
  end(): void {
    if (this.#isTerminal) {
      this.#out.write('\r\x1b[K');
    }
  }

  get #isTerminal(): boolean {
    return this.#out.isTTY === true;
  }

  #draw(): void {
    if (this.#isTerminal) {
      const elapsed = (performance.now() - this.#startedMs) / 1000;
      this.#out.write(`\r\x1b[K${barText(this.#done, this.#total, elapsed)}`);
    }
  }
}
