// SPDX-License-Identifier: Apache-2.0
// The DNS server of one pod, on the loopback of its network namespace. Who asks is known by that:
// nobody else reaches the sockets.
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { createServer, type Server, type Socket } from 'node:net';
import { MeshError } from '../../src/lib/error.ts';
import { ports } from '../../src/lib/ports.ts';
import {
  addressAnswer,
  errorAnswer,
  parseQuery,
  type Query,
  queryBytesMax,
  rcodes,
  relayed,
  truncatedAnswer,
  types,
  udpLimitOf,
} from './message.ts';
import type { Found, NameTable } from './names.ts';
import { type TakeQuery, TcpQueries } from './tcp-queries.ts';
import type { Line, Turns } from './turns.ts';
import { liveOn, type Upstream } from './upstream.ts';

/** Most queries of one pod in a second, bursts of twice as many apart. What is over is dropped. */
export const queriesPerSecondMax = 4_000;
/** Most TCP connections of one pod. */
export const connectionsMax = 64;

const tcpBytesMax = 65_535;

/** Upper bounds of the histogram of upstream times, in seconds. */
export const durationBuckets: readonly number[] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5];

/** What was counted for one pod. */
export interface PodDnsCounts {
  requests: number;
  /** Queries over the pod's rate or its place in line, and those that could not be read. */
  dropped: number;
  upstreamRequests: number;
  upstreamFailures: number;
  /** Questions that ended, answered or not, and how long they took in all. */
  upstreamDone: number;
  upstreamSeconds: number;
  /** How many upstream questions took at most as long as the bucket of the same index says. */
  readonly upstreamBuckets: number[];
}

/** What a pod's server works with. */
export interface PodServerParts {
  readonly names: NameTable;
  readonly namespace: string;
  readonly upstream: Upstream;
  /** Shared by the pods of a thread. */
  readonly turns: Turns;
  /** Makes an unbound UDP socket or a TCP listener in the pod's namespace. Throws MeshError. */
  readonly open: (kind: 'unbound udp' | 'listen', address: string, port: number) => number;
  /** Binds a UDP socket that Node lives on to a port that nobody shares. Throws MeshError. */
  readonly bind: (fd: number, address: string, port: number) => void;
  /** Forbids sharing the port of a bound one again. Throws MeshError. */
  readonly unshare?: (fd: number) => void;
  /** Sockets that another process answered with before, by name; those it opens it takes out. */
  readonly inherited?: Map<string, number>;
  /** 15053 unless a test says otherwise. */
  readonly port?: number;
  /** How long a TCP client may take for a query; `messageTimeoutMs` unless a test says otherwise. */
  readonly messageTimeoutMs?: number | undefined;
  /** A clock in milliseconds; the system's unless a test says otherwise. */
  readonly now?: () => number;
  /** Told when something of the sockets fails later. */
  readonly onError: (error: MeshError) => void;
}

type Transport = 'udp' | 'tcp';

/** Serves one pod from `open` until `close`. */
export class PodServer {
  readonly counts: PodDnsCounts = {
    ...{ requests: 0, dropped: 0, upstreamRequests: 0, upstreamFailures: 0, upstreamDone: 0 },
    upstreamSeconds: 0,
    upstreamBuckets: durationBuckets.map(() => 0),
  };
  readonly #parts: PodServerParts;
  readonly #udp: UdpSocket[] = [];
  readonly #tcp: Server[] = [];
  readonly #connections = new Set<Socket>();
  readonly #sockets = new Map<string, number>();
  readonly #line: Line;
  #tokens = 2 * queriesPerSecondMax;
  readonly #now: () => number;
  #refilled: number;
  #closed = false;

  constructor(parts: PodServerParts) {
    this.#parts = parts;
    this.#line = parts.turns.line();
    this.#now = parts.now ?? (() => performance.now());
    this.#refilled = this.#now();
  }

  /** Its descriptors, by kind and address. */
  get sockets(): ReadonlyMap<string, number> {
    return this.#sockets;
  }

  /**
   * Opens the sockets: 127.0.0.1 has to be there, ::1 need not, as in a pod without IPv6. Rejects
   * with MeshError, and leaves nothing open, when it cannot: `conflict` when somebody in the pod
   * has a port, who would get the pod's queries in our place.
   */
  async open(): Promise<void> {
    try {
      await this.#openAt('127.0.0.1');
      await this.#openAt('::1').catch((thrown: unknown) => {
        const error = MeshError.from(thrown);
        if (error.code === 'conflict') {
          throw error;
        }
        this.#parts.onError(error);
      });
    } catch (error) {
      this.close();
      throw MeshError.from(error);
    }
  }

  /** Ends everything at once. */
  close(): void {
    this.#closed = true;
    this.#sockets.clear();
    this.#line.clear();
    this.#parts.upstream.close();
    for (const socket of this.#udp.splice(0)) {
      socket.close();
    }
    for (const server of this.#tcp.splice(0)) {
      server.close();
    }
    for (const connection of [...this.#connections]) {
      connection.destroy();
    }
  }

  #openUdp(address: string, port: number): void {
    const { open, bind, unshare, onError } = this.#parts;
    const inherited = this.#inherit(`udp ${address}`);
    const fd = inherited ?? open('unbound udp', address, port);
    const udp = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    udp.on('error', (error) => onError(MeshError.from(error)));
    udp.on('message', (bytes, { address: host, port: from }) => {
      this.#respond(bytes, 'udp', (answer) => udp.send(answer, from, host));
    });
    liveOn(udp, fd);
    try {
      if (inherited === undefined) {
        bind(fd, address, port);
      } else {
        unshare?.(fd);
      }
    } catch (error) {
      udp.close();
      throw error;
    }
    this.#udp.push(udp);
    this.#sockets.set(`udp ${address}`, fd);
  }

  #inherit(name: string): number | undefined {
    const fd = this.#parts.inherited?.get(name);
    this.#parts.inherited?.delete(name);
    return fd;
  }

  async #openAt(address: string): Promise<void> {
    const { open, onError, port = ports.dns } = this.#parts;
    this.#openUdp(address, port);
    // A client may end as soon as it has asked (RFC 7766 section 6.2.4).
    const server = createServer({ allowHalfOpen: true }, (socket) => this.#serve(socket));
    this.#tcp.push(server);
    server.maxConnections = connectionsMax;
    server.on('error', (error) => onError(MeshError.from(error)));
    const name = `listen ${address}`;
    const fd = this.#inherit(name) ?? open('listen', address, port);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ fd }, resolve);
    });
    this.#sockets.set(name, fd);
  }

  #serve(socket: Socket): void {
    this.#connections.add(socket);
    socket.on('close', () => this.#connections.delete(socket));
    const take: TakeQuery = (bytes, reply, done) => this.#respond(bytes, 'tcp', reply, done);
    new TcpQueries(socket, take, this.#parts.messageTimeoutMs);
  }

  // A query over the rate, or that too many wait before, is not even read: the client comes again,
  // as after any loss. One that is too long would only fill the line.
  #respond(
    bytes: Uint8Array,
    transport: Transport,
    reply: (answer: Uint8Array) => void,
    done: () => void = () => undefined,
  ): void {
    const inLine =
      bytes.length <= queryBytesMax &&
      this.#takeToken() &&
      this.#line.push(() => this.#answer(bytes, transport, reply, done));
    if (!inLine) {
      this.counts.dropped += 1;
      done();
    }
  }

  #answer(
    bytes: Uint8Array,
    transport: Transport,
    reply: (answer: Uint8Array) => void,
    done: () => void,
  ): void {
    this.#answerTo(bytes, transport)
      .then((answer) => {
        if (answer !== undefined && !this.#closed) {
          reply(answer);
        }
      })
      .catch((error: unknown) => this.#parts.onError(MeshError.from(error)))
      .finally(done);
  }

  #takeToken(): boolean {
    const now = this.#now();
    const fresh = ((now - this.#refilled) / 1000) * queriesPerSecondMax;
    this.#tokens = Math.min(2 * queriesPerSecondMax, this.#tokens + fresh);
    this.#refilled = now;
    if (this.#tokens < 1) {
      return false;
    }
    this.#tokens -= 1;
    return true;
  }

  async #answerTo(bytes: Uint8Array, transport: Transport): Promise<Uint8Array | undefined> {
    const parsed = parseQuery(bytes);
    if (parsed.kind !== 'query') {
      this.counts.dropped += 1;
      return parsed.kind === 'answer' ? parsed.bytes : undefined;
    }
    this.counts.requests += 1;
    const { query } = parsed;
    const { names, namespace } = this.#parts;
    const found =
      query.name === undefined || !query.isInternet ? undefined : names.find(query.name, namespace);
    const ours = query.type === types.a || query.type === types.aaaa;
    if (found !== undefined && ours) {
      return ownAnswer(query, found, transport === 'udp' ? udpLimitOf(query) : tcpBytesMax);
    }
    return this.#ask(query, transport, found !== undefined);
  }

  async #ask(query: Query, transport: Transport, exists: boolean): Promise<Uint8Array> {
    const { upstream } = this.#parts;
    const { counts } = this;
    counts.upstreamRequests += 1;
    if (!upstream.hasRoom) {
      counts.upstreamFailures += 1;
      return errorAnswer(query, rcodes.servFail);
    }
    const { answer, durationMs } = await upstream.ask(query, transport);
    counts.upstreamDone += 1;
    counts.upstreamSeconds += durationMs / 1000;
    for (const [index, bound] of durationBuckets.entries()) {
      counts.upstreamBuckets[index] =
        (counts.upstreamBuckets[index] ?? 0) + Number(durationMs / 1000 <= bound);
    }
    if (answer === undefined) {
      counts.upstreamFailures += 1;
      return errorAnswer(query, rcodes.servFail);
    }
    const tooLong = transport === 'udp' && answer.length > udpLimitOf(query);
    return tooLong ? truncatedAnswer(query) : relayed(answer, query, exists);
  }
}

function ownAnswer(query: Query, found: Found, bytesMax: number): Uint8Array {
  const six = query.type === types.aaaa;
  const addresses = shuffled(found.addresses.filter((address) => address.includes(':') === six));
  return addressAnswer(query, addresses, found.zone, bytesMax);
}

// Clients take the first address, and all endpoints shall have their share.
function shuffled(addresses: readonly string[]): string[] {
  const out = [...addresses];
  for (let last = out.length - 1; last > 0; last -= 1) {
    const pick = Math.floor(Math.random() * (last + 1));
    const other = out[pick] ?? '';
    out[pick] = out[last] ?? '';
    out[last] = other;
  }
  return out;
}
