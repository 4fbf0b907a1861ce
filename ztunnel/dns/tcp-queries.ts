// SPDX-License-Identifier: Apache-2.0
// The queries of one TCP client, and the answers to it (RFC 7766): bounded in number, bytes and
// time, for its pod has few connections.
import type { Socket } from 'node:net';
import { queryBytesMax } from './message.ts';
import { framed } from './upstream.ts';

/** Most questions of one TCP connection that wait for their answers (RFC 7766 section 6.2.1.1). */
export const pipelineMax = 32;
/** How long a TCP connection may be idle, in milliseconds. */
export const idleTimeoutMs = 10_000;
/** How long a query may take from its first byte to its last, in milliseconds. */
export const messageTimeoutMs = 5_000;
/** Most bytes of answers that a TCP client has not taken yet. */
export const unsentBytesMax: number = 256 * 1024;

/** Takes one query; calls `done` once, when it is answered or will not be. */
export type TakeQuery = (
  bytes: Uint8Array,
  reply: (answer: Uint8Array) => void,
  done: () => void,
) => void;

/**
 * Reads the queries of `socket`, which is to allow half-open, and ends it when the client has ended
 * and all of them are answered, or when it is over a limit.
 */
export class TcpQueries {
  readonly #socket: Socket;
  readonly #query: TakeQuery;
  readonly #messageTimeoutMs: number;
  #bytes = Buffer.alloc(0);
  #waiting = 0;
  #ended = false;
  #timer: NodeJS.Timeout | undefined;

  /** @param timeoutMs for one query; `messageTimeoutMs` unless a test says otherwise. */
  constructor(socket: Socket, query: TakeQuery, timeoutMs: number = messageTimeoutMs) {
    this.#socket = socket;
    this.#query = query;
    this.#messageTimeoutMs = timeoutMs;
    socket.setTimeout(idleTimeoutMs, () => socket.destroy());
    socket.on('close', () => this.#stopTimer());
    socket.on('error', () => socket.destroy());
    socket.on('data', (more: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, more]);
      this.#take();
    });
    socket.on('end', () => {
      this.#ended = true;
      this.#stopTimer();
      this.#take();
    });
  }

  #take(): void {
    while (this.#waiting < pipelineMax && this.#bytes.length >= 2) {
      const whole = 2 + this.#bytes.readUInt16BE(0);
      if (whole > 2 + queryBytesMax) {
        this.#socket.destroy();
        return;
      }
      if (this.#bytes.length < whole) {
        break;
      }
      const message = this.#bytes.subarray(2, whole);
      this.#bytes = this.#bytes.subarray(whole);
      this.#stopTimer();
      this.#waiting += 1;
      this.#query(
        message,
        (answer) => this.#send(answer),
        () => {
          this.#waiting -= 1;
          setImmediate(() => this.#take());
        },
      );
    }
    // What is left of a client that has ended is no whole query.
    if (this.#ended && this.#waiting === 0) {
      this.#socket.end();
    } else if (this.#waiting < pipelineMax) {
      this.#watch();
      this.#socket.resume();
    } else {
      this.#socket.pause();
    }
  }

  // The client is waited for, in the middle of a query. More of the same query gives it no more
  // time, or one byte now and then would hold the connection for ever.
  #watch(): void {
    if (this.#bytes.length > 0 && !this.#ended && !this.#socket.destroyed) {
      this.#timer ??= setTimeout(() => this.#socket.destroy(), this.#messageTimeoutMs);
    }
  }

  #stopTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  // A client that does not read is cut off, or it would have us keep its answers.
  #send(answer: Uint8Array): void {
    if (this.#socket.writableLength > unsentBytesMax) {
      this.#socket.destroy();
      return;
    }
    this.#socket.write(framed(answer));
  }
}
