// SPDX-License-Identifier: Apache-2.0
// Asks a pod's own resolvers, from its network namespace. Each question goes out on a socket of its
// own: a random port of the kernel's choice and a random id, so that nobody who does not see it can
// answer it (RFC 5452). Nothing is kept.
import { randomInt } from 'node:crypto';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { Socket } from 'node:net';
import { MeshError } from '../../src/lib/error.ts';
import { isAnswerTo, type Query, rcodeOf, rcodes, withId } from './message.ts';

/** How long one resolver may take, in milliseconds. Three of them end before most clients do. */
export const attemptTimeoutMs = 1_600;
/** Most datagrams that are no answer, until a resolver is given up. */
export const strayAnswersMax = 64;
/** Most questions of one pod that wait for an answer. */
export const outstandingMax = 256;
/** Most questions of all pods together: each has a descriptor. */
export const allOutstandingMax = 2048;
/** So many questions each pod may ask also when the others use up what all may together. */
export const ownOutstanding = 8;

const dnsPort = 53;

/** Makes a socket in the pod's namespace: UDP, or TCP that connects to a resolver. */
export type OpenSocket = (kind: 'udp' | 'connect', address: string, port: number) => number;

/** How a question went. */
export interface Outcome {
  /** What a resolver answered, under whatever id; undefined when none did. */
  readonly answer: Uint8Array | undefined;
  readonly durationMs: number;
}

/** How many questions of all pods wait; shared by the pods of one thread. */
export interface Budget {
  outstanding: number;
}

type Transport = 'udp' | 'tcp';

/** One question to one resolver. Settles once; what comes later has no effect. */
class Attempt {
  readonly answer: Promise<Uint8Array>;
  readonly #settle: PromiseWithResolvers<Uint8Array>;
  readonly #close: () => void;
  readonly #timer: NodeJS.Timeout;
  #ended = false;

  /** @param close ends the socket; called once. */
  constructor(close: () => void) {
    this.#settle = Promise.withResolvers();
    this.answer = this.#settle.promise;
    this.#close = close;
    this.#timer = setTimeout(() => this.fail('no answer in time'), attemptTimeoutMs);
  }

  get ended(): boolean {
    return this.#ended;
  }

  succeed(answer: Uint8Array): void {
    this.#end(() => this.#settle.resolve(answer));
  }

  fail(why: string): void {
    this.#end(() => this.#settle.reject(new MeshError('unavailable', why)));
  }

  #end(settle: () => void): void {
    if (!this.#ended) {
      this.#ended = true;
      clearTimeout(this.#timer);
      this.#close();
      settle();
    }
  }
}

// A resolver that says so of itself may be followed by one that can.
const passOn: ReadonlySet<number> = new Set([rcodes.servFail, rcodes.notImp, rcodes.refused]);

/** The resolvers of one pod. */
export class Upstream {
  readonly #servers: readonly string[];
  readonly #open: OpenSocket;
  readonly #budget: Budget;
  readonly #port: number;
  readonly #attempts = new Set<Attempt>();
  #outstanding = 0;
  #closed = false;

  /** @param port of the resolvers; 53 unless a test says otherwise. */
  constructor(
    servers: readonly string[],
    open: OpenSocket,
    budget: Budget,
    port: number = dnsPort,
  ) {
    this.#servers = servers;
    this.#open = open;
    this.#budget = budget;
    this.#port = port;
  }

  /** Whether one more question may be asked now. */
  get hasRoom(): boolean {
    const shared = this.#budget.outstanding < allOutstandingMax;
    return this.#outstanding < (shared ? outstandingMax : ownOutstanding);
  }

  /** Asks one resolver after the other until one answers. Never rejects. */
  async ask(query: Query, transport: Transport): Promise<Outcome> {
    const began = performance.now();
    this.#outstanding += 1;
    this.#budget.outstanding += 1;
    try {
      const answer = await this.#askAll(query, transport);
      return { answer, durationMs: performance.now() - began };
    } finally {
      this.#outstanding -= 1;
      this.#budget.outstanding -= 1;
    }
  }

  /** Gives up all questions; later ones fail at once. */
  close(): void {
    this.#closed = true;
    for (const attempt of [...this.#attempts]) {
      attempt.fail('the pod is gone');
    }
  }

  async #askAll(query: Query, transport: Transport): Promise<Uint8Array | undefined> {
    let last: Uint8Array | undefined;
    for (const server of this.#servers) {
      try {
        last = await this.#askOne(server, query, transport);
        if (!passOn.has(rcodeOf(last))) {
          return last;
        }
      } catch {
        // Silent, refused or unreachable: the next one may do.
      }
    }
    return last;
  }

  async #askOne(server: string, query: Query, transport: Transport): Promise<Uint8Array> {
    if (this.#closed) {
      throw new MeshError('unavailable', 'the pod is gone');
    }
    const fd =
      transport === 'tcp'
        ? this.#open('connect', server, this.#port)
        : this.#open('udp', server.includes(':') ? '::' : '0.0.0.0', 0);
    const attempt =
      transport === 'tcp' ? askByTcp(fd, query) : askByUdp(fd, query, server, this.#port);
    this.#attempts.add(attempt);
    try {
      return await attempt.answer;
    } finally {
      this.#attempts.delete(attempt);
    }
  }
}

function askByUdp(fd: number, query: Query, server: string, port: number): Attempt {
  const six = server.includes(':');
  const socket = createSocket({ type: six ? 'udp6' : 'udp4', lookup: asLiteral });
  const attempt = new Attempt(() => socket.close());
  const id = randomInt(0x10000);
  let datagrams = 0;
  socket.on('error', ({ message }) => attempt.fail(message));
  socket.on('message', (bytes) => {
    datagrams += 1;
    if (isAnswerTo(query, id, bytes)) {
      attempt.succeed(bytes);
    } else if (datagrams >= strayAnswersMax) {
      attempt.fail('too many answers to other questions');
    }
  });
  liveOn(socket, fd, () => {
    // Connected, so that the kernel takes datagrams of this resolver alone.
    socket.connect(port, server, () => {
      if (!attempt.ended) {
        socket.send(withId(query.bytes, id));
      }
    });
  });
  return attempt;
}

function askByTcp(fd: number, query: Query): Attempt {
  const socket = new Socket({ fd, readable: true, writable: true });
  const attempt = new Attempt(() => socket.destroy());
  const id = randomInt(0x10000);
  let bytes = Buffer.alloc(0);
  socket.on('error', ({ message }) => attempt.fail(message));
  socket.on('close', () => attempt.fail('the resolver hung up'));
  socket.on('data', (more: Buffer) => {
    bytes = Buffer.concat([bytes, more]);
    const whole = bytes.length >= 2 ? 2 + bytes.readUInt16BE(0) : Number.POSITIVE_INFINITY;
    if (bytes.length >= whole) {
      const message = bytes.subarray(2, whole);
      if (isAnswerTo(query, id, message)) {
        attempt.succeed(message);
      } else {
        attempt.fail('an answer to another question');
      }
    }
  });
  socket.write(framed(withId(query.bytes, id)));
  return attempt;
}

/** A message as it travels by TCP: after its length (RFC 1035 section 4.2.2). */
export function framed(bytes: Uint8Array): Buffer {
  const out = Buffer.alloc(2 + bytes.length);
  out.writeUInt16BE(bytes.length, 0);
  out.set(bytes, 2);
  return out;
}

/** Lets `socket` live on the descriptor, which it then owns. */
export function liveOn(socket: UdpSocket, fd: number, done?: () => void): void {
  socket.bind({ fd, exclusive: true }, done);
}

// Resolvers are named by address: there is nothing to look up.
function asLiteral(
  hostname: string,
  _options: unknown,
  done: (error: null, address: string, family: number) => void,
): void {
  done(null, hostname, hostname.includes(':') ? 6 : 4);
}
