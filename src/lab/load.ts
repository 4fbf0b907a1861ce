// SPDX-License-Identifier: Apache-2.0
// A program for pods: asks a web server again and again, over new connections and over one that
// stays open, and checks each answer.
//
//   load.ts HOST PORT [PAUSE_MS]   prints `{"ready":PID}` when it begins, goes on until SIGTERM,
//                                  then prints what it saw as one JSON object
import { randomBytes } from 'node:crypto';
import { Agent, request } from 'node:http';
import { setTimeout as wait } from 'node:timers/promises';
import { MeshError } from '../lib/error.ts';

/** Time between two requests of one kind, unless it is given. */
const pauseMsDefault = 20;
/** An answer that takes longer has failed. */
const answerMsMax = 5_000;
/** Answers that are timed. */
const timesMax = 1_000_000;
/** Connections that are told of one by one. */
const connectionsMax = 100_000;
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
  /** How long right answers over new connections took, in ms: the median, all but 1 %, all. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly slowestMs: number;
  /** Each connection that stood: our port, and when it did, in ms since 1970. */
  readonly connections: readonly (readonly [port: number, atMs: number])[];
  /** The first failures, with the time since the start in ms. */
  readonly reasons: readonly string[];
}

class Load {
  readonly #host: string;
  readonly #port: number;
  readonly #pauseMs: number;
  readonly #keep = new Agent({ keepAlive: true, maxSockets: 1 });
  readonly #start: number = performance.now();
  readonly #counts = { fresh: 0, kept: 0, failed: 0, wrong: 0, opened: 0 };
  readonly #tookMs: number[] = [];
  readonly #connections: (readonly [port: number, atMs: number])[] = [];
  readonly #reasons: string[] = [];

  constructor(host: string, port: number, pauseMs: number) {
    this.#host = host;
    this.#port = port;
    this.#pauseMs = pauseMs;
  }

  result(): LoadResult {
    const sorted = this.#tookMs.toSorted((a, b) => a - b);
    const at = (share: number): number => {
      return Math.ceil(10 * (sorted[Math.floor(share * (sorted.length - 1))] ?? 0)) / 10;
    };
    const times = { p50Ms: at(0.5), p99Ms: at(0.99), slowestMs: at(1) };
    const connections = this.#connections;
    return { ...this.#counts, ...times, connections, reasons: this.#reasons };
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
        if (kind === 'fresh' && this.#tookMs.length < timesMax) {
          this.#tookMs.push(performance.now() - began);
        }
      } catch (error) {
        this.#counts.failed += 1;
        if (this.#reasons.length < reasonsMax) {
          const at = Math.round(began - this.#start);
          this.#reasons.push(`${at} ms, ${kind}: ${MeshError.from(error).message}`);
        }
      }
      await wait(this.#pauseMs, undefined, { signal: stopped }).catch(() => undefined);
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
        socket.once('connect', () => {
          if (this.#connections.length < connectionsMax) {
            this.#connections.push([socket.localPort ?? 0, Date.now()]);
          }
        });
      });
      asked.on('timeout', () => asked.destroy(new MeshError('timeout', 'no answer')));
      asked.on('error', reject);
      asked.end();
    });
  }
}

if (import.meta.main) {
  const [host = '', port = '', pauseMs = pauseMsDefault] = process.argv.slice(2);
  const load = new Load(host, Number(port), Number(pauseMs));
  const stop = new AbortController();
  process.once('SIGTERM', () => stop.abort());
  process.stdout.write(`${JSON.stringify({ ready: process.pid })}\n`);
  await load.run(stop.signal);
  process.stdout.write(`${JSON.stringify(load.result())}\n`);
}
