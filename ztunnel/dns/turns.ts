// SPDX-License-Identifier: Apache-2.0
// Who is answered next. One pod may ask as fast as it can; the others are still answered at once.

/**
 * Most queries of all pods together that are answered before the event loop looks for new ones, so
 * that a query which arrives meanwhile waits for these few only. A query that is passed on costs
 * about a fifth of a millisecond, most of it for its socket.
 */
export const queriesPerTurn = 4;
/** Most queries of one pod that wait for their turn. */
export const waitingMax = 256;

type Work = () => void;

/** One pod's place: its queries are answered in order. */
export class Line {
  readonly #waiting: Work[] = [];
  readonly #ready: (line: Line) => void;

  /** @param ready is told when the line stops being empty. */
  constructor(ready: (line: Line) => void) {
    this.#ready = ready;
  }

  /** False, and nothing will be done, when too many wait already. `work` must not throw. */
  push(work: Work): boolean {
    if (this.#waiting.length >= waitingMax) {
      return false;
    }
    this.#waiting.push(work);
    if (this.#waiting.length === 1) {
      this.#ready(this);
    }
    return true;
  }

  /** Takes the first one; undefined when none waits. */
  take(): Work | undefined {
    return this.#waiting.shift();
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** Forgets all that wait. */
  clear(): void {
    this.#waiting.length = 0;
  }
}

/** Shared by the pods of one thread: one query of each that has some, then the next of each. */
export class Turns {
  readonly #ready: Line[] = [];
  #scheduled = false;

  /** A place for one more pod. It needs no end but `clear`. */
  line(): Line {
    return new Line((line) => {
      // A line that was cleared and filled again may be named still.
      if (!this.#ready.includes(line)) {
        this.#ready.push(line);
      }
      this.#schedule();
    });
  }

  // Behind the poll for I/O: all that arrived is in line, and each pod's first comes before any
  // pod's second.
  #schedule(): void {
    if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(() => this.#run());
    }
  }

  #run(): void {
    this.#scheduled = false;
    for (let done = 0; done < queriesPerTurn; done += 1) {
      const line = this.#ready.shift();
      if (line === undefined) {
        return;
      }
      const work = line.take();
      if (!line.isEmpty) {
        this.#ready.push(line);
      }
      work?.();
    }
    if (this.#ready.length > 0) {
      this.#schedule();
    }
  }
}
