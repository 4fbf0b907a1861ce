// SPDX-License-Identifier: Apache-2.0
// A peer that is not ours and asks without a pause, on a tunnel of its own, while others do harm.
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import type { Test } from 'tap';
import type { BarePod } from './mesh-pair.ts';

const program = join(import.meta.dirname, '../peers/hbone_streams.py');
const load = ['--streams', '5', '--bytes', '20000', '--until-eof'];

/** What it says of one round: `same` when a stream brought back what went into it. */
export interface Round {
  readonly streams: readonly { readonly status: number; readonly same: boolean }[];
  readonly error: string | null;
}

/** It begins a round when the last one has ended: five streams at once, to an application that echoes. */
export class GoodClient {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #closed: Promise<unknown>;
  readonly #rounds: Round[] = [];
  #heard: () => void = () => {};

  /** Starts in `pod`; `options` say whom it asks for what, and who it is. Ends with the test. */
  constructor(t: Test, pod: BarePod, options: readonly string[]) {
    const command = [...pod.inside, '/usr/bin/python3', program, ...load, ...options];
    const [file = '', ...args] = command;
    this.#child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#closed = once(this.#child, 'close');
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      this.#rounds.push(JSON.parse(line));
      this.#heard();
    });
    this.#child.on('close', () => this.#heard());
    t.teardown(async () => {
      this.#child.kill();
      await this.#closed;
    });
  }

  /** Waits until it has begun and ended a further round, and gives all since the last call. */
  async rounds(): Promise<Round[]> {
    const wanted = this.#rounds.length + 2;
    while (this.#rounds.length < wanted && this.#child.exitCode === null) {
      await new Promise<void>((resolve) => {
        this.#heard = resolve;
      });
    }
    return this.#rounds.splice(0);
  }

  /** Ends it, and gives the rounds since the last call. */
  async end(): Promise<Round[]> {
    this.#child.stdin.end();
    await this.#closed;
    return this.#rounds.splice(0);
  }
}

/** Checks that no request of `rounds` failed. */
export function allSucceeded(t: Test, rounds: readonly Round[]): void {
  const failed = rounds.filter(
    ({ streams, error }) =>
      error !== null || streams.some(({ status, same }) => status !== 200 || !same),
  );
  t.strictSame(failed, [], `${rounds.length} rounds of requests`);
}
