// SPDX-License-Identifier: Apache-2.0
// Bounds what a flood of equal events can write to the log.

/** What a limit of lines works with. */
export interface LineLimitOptions {
  /** Most lines of one kind in one window. */
  readonly linesMax: number;
  /** Length of a window in milliseconds; it begins with a first line. */
  readonly windowMs: number;
  /** Called at the end of a window that left lines out, with how many they were. */
  readonly onLeftOut: (kind: string, lines: number) => void;
}

interface Window {
  readonly timer: NodeJS.Timeout;
  lines: number;
}

/** Lets so many lines of each kind through in a window. Kinds are a small closed set. */
export class LineLimit {
  readonly #options: LineLimitOptions;
  readonly #windows = new Map<string, Window>();

  constructor(options: LineLimitOptions) {
    this.#options = options;
  }

  /** Whether a line of this kind may be written now. */
  allows(kind: string): boolean {
    let window = this.#windows.get(kind);
    if (window === undefined) {
      const timer = setTimeout(() => this.#end(kind), this.#options.windowMs);
      timer.unref();
      window = { timer, lines: 0 };
      this.#windows.set(kind, window);
    }
    window.lines += 1;
    return window.lines <= this.#options.linesMax;
  }

  /** Ends all windows now, so that what they left out is told. */
  flush(): void {
    for (const kind of [...this.#windows.keys()]) {
      this.#end(kind);
    }
  }

  #end(kind: string): void {
    const window = this.#windows.get(kind);
    clearTimeout(window?.timer);
    this.#windows.delete(kind);
    const leftOut = (window?.lines ?? 0) - this.#options.linesMax;
    if (leftOut > 0) {
      this.#options.onLeftOut(kind, leftOut);
    }
  }
}
