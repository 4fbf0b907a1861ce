// SPDX-License-Identifier: Apache-2.0
// A program for pods: asks a web server again and again, over new connections and over one that
// stays open, and checks each answer.
//
//   load.ts HOST PORT   goes on until SIGTERM, then prints what it saw as one JSON object
import { randomBytes } from 'node:crypto';
import { Agent, request } from 'node:http';
import { setTimeout as wait } from 'node:timers/promises';
import { MeshError } from '../lib/error.ts';

/** Time between two requests of one kind. */
const pauseMs = 20;
/** An answer that takes longer has failed. */
const answerMsMax = 5_000;
/** Failures that are told in words. */
const reasonsMax = 20;

/** What the load saw. */
export interface LoadResult {
  /** Right answers over connections of their own. */
  readonly fresh: number;
  /** Right answers over the connection that stays open. */
  readonly kept: number;
  readonly failed: number;
  /** Whole answers to something else than what was asked; they are among the failed ones. */
  readonly wrong: number;
  /** How often the connection that stays open had to be opened. */
  readonly opened: number;
  /** The longest that an answer took, in ms. */
  readonly slowestMs: number;
  /** The first failures, with the time since the start in ms. */
  readonly reasons: readonly string[];
}

class Load {
  readonly #host: string;
  readonly #port: number;
  readonly #keep = new Agent({ keepAlive: true, maxSockets: 1 });
  readonly #start: number = performance.now();
  readonly #counts = { fresh: 0, kept: 0, failed: 0, wrong: 0, opened: 0, slowestMs: 0 };
  readonly #reasons: string[] = [];

  constructor(host: string, port: number) {
    this.#host = host;
    this.#port = port;
  }

  result(): LoadResult {
    return { ...this.#counts, reasons: this.#reasons };
  }

  async run(stopped: AbortSignal): Promise<void> {
    await Promise.all([this.#repeat('fresh', stopped), this.#repeat('kept', stopped)]);
    this.#keep.destroy();
  }

  async #repeat(kind: 'fresh' | 'kept', stopped: AbortSignal): Promise<void> {
    while (!stopped.aborted) {
      const began = performance.now();
      try {
        await this.#ask(kind);
        this.#counts[kind] += 1;
      } catch (error) {
        this.#counts.failed += 1;
        if (this.#reasons.length < reasonsMax) {
          const at = Math.round(began - this.#start);
          this.#reasons.push(`${at} ms, ${kind}: ${MeshError.from(error).message}`);
        }
      }
      const took = performance.now() - began;
      this.#counts.slowestMs = Math.max(this.#counts.slowestMs, Math.ceil(took));
      await wait(pauseMs, undefined, { signal: stopped }).catch(() => undefined);
    }
  }

  #ask(kind: 'fresh' | 'kept'): Promise<void> {
    const token = randomBytes(16).toString('hex');
    const agent = kind === 'kept' ? this.#keep : false;
    const target = { host: this.#host, port: this.#port, path: `/${token}`, agent };
    return new Promise((resolve, reject) => {
      const asked = request({ ...target, timeout: answerMsMax }, (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (text: string) => {
          body += text;
        });
        response.on('error', reject);
        response.on('end', () => {
          if (body.includes(`path /${token}\n`)) {
            resolve();
          } else {
            this.#counts.wrong += 1;
            reject(new MeshError('invalid', `a wrong answer: ${body}`));
          }
        });
      });
      asked.on('socket', (socket) => {
        this.#counts.opened += kind === 'kept' && socket.connecting ? 1 : 0;
      });
      asked.on('timeout', () => asked.destroy(new MeshError('timeout', 'no answer')));
      asked.on('error', reject);
      asked.end();
    });
  }
}

if (import.meta.main) {
  const [host = '', port = ''] = process.argv.slice(2);
  const load = new Load(host, Number(port));
  const stop = new AbortController();
  process.once('SIGTERM', () => stop.abort());
  await load.run(stop.signal);
  process.stdout.write(`${JSON.stringify(load.result())}\n`);
}
