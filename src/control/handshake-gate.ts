// SPDX-License-Identifier: Apache-2.0
// Connections whose clients have not proved that they speak TLS: few, and for a short time, so that
// they cannot keep nodes away.
import { formatIp, parseIp } from '../lib/ip.ts';

/** A connection that has just been accepted. */
export interface Newcomer {
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
  readonly localAddress?: string | undefined;
  destroy(): void;
  once(event: 'close', listener: () => void): unknown;
}

/** A client that has not finished its handshake by then is cut off, whatever it sends. */
export const handshakeTimeoutMs = 10_000;

/** Most unfinished handshakes at one time from one source address, or one /64 of IPv6. */
export const handshakesPerSourceMax = 256;

/** Most unfinished handshakes at one time, over all sources and listening addresses. */
export const handshakesMax = 1_024;

const hostPrefixBytes = 8;
const v4Mapped = /^::ffff:(?=\d+\.)/i;

// Whoever has one address of a /64 has all of them.
function sourceOf({ remoteAddress = '' }: Newcomer): string {
  const text = remoteAddress.replace(v4Mapped, '').replace(/%.*$/, '');
  const bytes = parseIp(text);
  return bytes?.length === 16 ? formatIp(bytes.fill(0, hostPrefixBytes)) : text;
}

// A TLS socket does not say which connection it is made of; the two have their ends in common.
function keyOf({ remoteAddress, remotePort, localAddress }: Newcomer): string {
  return `${remoteAddress} ${remotePort} ${localAddress}`;
}

interface Entry {
  readonly newcomer: Newcomer;
  readonly source: string;
  readonly timer: NodeJS.Timeout;
}

/** Bounds handshakes that are under way. Main thread only. */
export class HandshakeGate {
  readonly #onCut: (peer: string, reason: string) => void;
  // Both oldest first.
  readonly #entries: Map<string, Entry> = new Map();
  readonly #sources: Map<string, Set<string>> = new Map();

  /** @param onCut is told of each connection that is ended here, and why. */
  constructor(onCut: (peer: string, reason: string) => void) {
    this.#onCut = onCut;
  }

  /** How many handshakes are under way. */
  get size(): number {
    return this.#entries.size;
  }

  /**
   * Takes a connection before its handshake. The oldest of its source goes when there are too many
   * of it, and the oldest of all when there are too many in all: a good one takes a moment. Were
   * the newest refused, whoever holds all places would keep every node out.
   */
  enter(newcomer: Newcomer): void {
    const key = keyOf(newcomer);
    const source = sourceOf(newcomer);
    const same = this.#sources.get(source) ?? new Set();
    this.#sources.set(source, same);
    same.add(key);
    const timer = setTimeout(
      () => this.#cut(key, 'the handshake took too long'),
      handshakeTimeoutMs,
    );
    this.#entries.set(key, { newcomer, source, timer });
    newcomer.once('close', () => this.#drop(key));
    if (same.size > handshakesPerSourceMax) {
      this.#cutFirst(same, `over ${handshakesPerSourceMax} handshakes of ${source}`);
    } else if (this.#entries.size > handshakesMax) {
      this.#cutFirst(this.#entries.keys(), `over ${handshakesMax} handshakes`);
    }
  }

  /** Lets a connection through whose handshake is done, or that has ended. */
  leave(socket: Newcomer): void {
    this.#drop(keyOf(socket));
  }

  /** Ends all that are under way. */
  close(): void {
    for (const key of [...this.#entries.keys()]) {
      this.#cut(key, 'shutting down');
    }
  }

  #cutFirst(keys: Iterable<string>, reason: string): void {
    for (const key of keys) {
      this.#cut(key, reason);
      return;
    }
  }

  #cut(key: string, reason: string): void {
    const entry = this.#drop(key);
    if (entry !== undefined) {
      this.#onCut(entry.source, reason);
      entry.newcomer.destroy();
    }
  }

  #drop(key: string): Entry | undefined {
    const entry = this.#entries.get(key);
    if (entry !== undefined) {
      clearTimeout(entry.timer);
      this.#entries.delete(key);
      const same = this.#sources.get(entry.source);
      same?.delete(key);
      if (same?.size === 0) {
        this.#sources.delete(entry.source);
      }
    }
    return entry;
  }
}
