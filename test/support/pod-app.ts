// SPDX-License-Identifier: Apache-2.0
// Applications in a pod's network namespace: real sockets of another process, driven by a test.
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';

const program = join(import.meta.dirname, 'pod_app.py');

/** All that a connection has sent and received. */
export interface Totals {
  readonly sent: number;
  readonly sentSha256: string;
  readonly received: number;
  readonly receivedSha256: string;
}

/** How far `fill` came. */
export interface Filled extends Totals {
  /** The peer took nothing more for the time given. */
  readonly stalled: boolean;
}

type Address = readonly [host: string, port: number];

interface Answer {
  readonly id: number;
  readonly error?: string;
}

interface Opened {
  readonly stream: number;
  readonly peer: Address;
  readonly local: Address;
}

/** An error of the socket; its message is the name, such as ECONNRESET. */
export class SocketError extends Error {}

/** How a socket connects; it may be bound before. */
export interface ConnectHow {
  readonly source?: string;
  readonly sourcePort?: number;
  readonly device?: string;
  /** May be bound to an address of somebody else. */
  readonly transparent?: boolean;
  readonly mptcp?: boolean;
  readonly nonblocking?: boolean;
  /** TCP_FASTOPEN_CONNECT: the SYN leaves with the first write. */
  readonly fastOpen?: boolean;
  /** Sent instead of a connect(), by MSG_FASTOPEN. */
  readonly firstBytes?: string;
  /** How long it is tried. */
  readonly waitMs?: number;
  /** The same socket first fails to connect to this port of the pod itself. */
  readonly failAt?: number;
}

/** One connection of an application. Each call rejects with SocketError when the socket fails. */
export class AppStream {
  readonly #app: PodApp;
  readonly #opened: Opened;

  constructor(app: PodApp, opened: Opened) {
    this.#app = app;
    this.#opened = opened;
  }

  /** The other end, as the application sees it. */
  get peer(): Address {
    return this.#opened.peer;
  }

  get local(): Address {
    return this.#opened.local;
  }

  #ask<T>(op: string, fields: object = {}): Promise<T> {
    return this.#app.ask<T>({ op, stream: this.#opened.stream, ...fields });
  }

  /** One byte for each character. */
  async write(text: string): Promise<void> {
    await this.#ask('write', { text });
  }

  writeRandom(bytes: number): Promise<Totals> {
    return this.#ask('write_random', { bytes });
  }

  /** Sends random bytes until the peer takes none for `stallMs`, or until `bytes` went in all. */
  fill(bytes: number, stallMs: number): Promise<Filled> {
    return this.#ask('fill', { bytes, stallMs });
  }

  /** Exactly `bytes`, or fewer when the peer ends. */
  async read(bytes: number): Promise<string> {
    return (await this.#ask<{ text: string }>('read', { bytes })).text;
  }

  /** Until the peer ends; `text` is the beginning of it. */
  readAll(): Promise<Totals & { readonly text: string }> {
    return this.#ask('read_all');
  }

  /** Sends FIN; reading goes on. */
  async end(): Promise<void> {
    await this.#ask('end');
  }

  /** Sets a layer over TCP, by the kernel's name of it. */
  async setLayer(name: string): Promise<void> {
    await this.#ask('set_layer', { name });
  }

  /** Sends RST. */
  async reset(): Promise<void> {
    await this.#ask('reset');
  }

  /** What reading ends with: the name of an error, or how many bytes came before a clean end. */
  failure(): Promise<string> {
    return failureOf(this.readAll());
  }
}

async function failureOf(reading: Promise<Totals>): Promise<string> {
  try {
    return `${(await reading).received} bytes and a clean end`;
  } catch (error) {
    return error instanceof SocketError ? error.message : String(error);
  }
}

/** What a command begins with that is to run in a cgroup. */
export function inCgroup(folder: string): string[] {
  return ['sh', '-c', 'echo $$ >"$0/cgroup.procs" && exec "$@"', folder];
}

/** The applications of one pod. */
export class PodApp {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #count = 0;

  /** Starts in the network namespace at `netnsPath`, in a cgroup where one is given. Needs root. */
  constructor(netnsPath: string, cgroup?: string) {
    const inside = ['nsenter', `--net=${netnsPath}`, '--', '/usr/bin/python3', program];
    const [file = '', ...args] = cgroup === undefined ? inside : [...inCgroup(cgroup), ...inside];
    this.#child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      const answer = JSON.parse(line) as Answer;
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    });
  }

  /** One request to the program. */
  async ask<T>(fields: object): Promise<T> {
    this.#count += 1;
    const id = this.#count;
    const answered = new Promise<Answer>((resolve) => this.#waiting.set(id, resolve));
    this.#child.stdin.write(`${JSON.stringify({ id, ...fields })}\n`);
    const answer = await answered;
    if (answer.error !== undefined) {
      throw new SocketError(answer.error);
    }
    return answer as T;
  }

  /** Listens at every address. */
  async listen(port: number, how: { mptcp?: boolean; backlog?: number } = {}): Promise<void> {
    await this.ask({ op: 'listen', port, ...how });
  }

  /** The next connection to a port that `listen` opened. */
  async accept(port: number): Promise<AppStream> {
    return new AppStream(this, await this.ask<Opened>({ op: 'accept', port }));
  }

  /** Listens, and sends back what each connection brings. */
  async echo(port: number, backlog = 128): Promise<void> {
    await this.ask({ op: 'echo', port, backlog });
  }

  /** Listens, and tells each connection the address that it reached. */
  async tell(port: number): Promise<void> {
    await this.ask({ op: 'tell', port, backlog: 1024 });
  }

  /** Connects `count` times to who does that; how often each address, or errno, came. */
  async reachEach(host: string, port: number, count: number): Promise<Record<string, number>> {
    const ask = { op: 'reach_each', host, port, count };
    return (await this.ask<{ results: Record<string, number> }>(ask)).results;
  }

  async connect(host: string, port: number, how: ConnectHow = {}): Promise<AppStream> {
    return new AppStream(this, await this.ask<Opened>({ op: 'connect', host, port, ...how }));
  }

  /** How a connection fails that must not work, be it before or after the proxy took it. */
  failure(host: string, port: number, how: ConnectHow = {}): Promise<string> {
    return failureOf(this.connect(host, port, how).then((stream) => stream.readAll()));
  }

  /**
   * Begins `count` connections one by one, each by a socket of its own or all by the `same`; how often
   * each errno came. Kept open with `keep`.
   */
  async connectEach(
    host: string,
    port: number,
    count: number,
    keep = false,
    how: ConnectHow & { readonly same?: boolean } = {},
  ): Promise<Record<string, number>> {
    const ask = { op: 'connect_each', host, port, count, keep, ...how };
    return (await this.ask<{ results: Record<string, number> }>(ask)).results;
  }

  /** Opens `count` connections to who sends back what comes, and keeps them. */
  async connectMany(host: string, port: number, count: number): Promise<void> {
    await this.ask({ op: 'connect_many', host, port, count });
  }

  /** How many of all connections that were kept still bring a byte back. */
  async alive(): Promise<number> {
    return (await this.ask<{ count: number }>({ op: 'alive' })).count;
  }

  /**
   * Resolves when all connections that were kept have ended: how many did, and when the last one, in
   * milliseconds of the machine's own clock.
   */
  async ended(): Promise<{ readonly count: number; readonly lastMs: number }> {
    const { count, lastNs } = await this.ask<{ count: number; lastNs: number }>({ op: 'ended' });
    return { count, lastMs: lastNs / 1e6 };
  }

  /** Has them carry bytes there and back from now on. */
  async work(): Promise<void> {
    await this.ask({ op: 'work' });
  }

  /** No more; how often each of them did, and how many bytes were lost in all. */
  rest(): Promise<{ readonly rounds: number; readonly lost: number }> {
    return this.ask({ op: 'rest' });
  }

  /** Closes what was kept, or resets the first `count` of them. */
  async drop(count?: number): Promise<void> {
    await this.ask({ op: 'drop', ...(count === undefined ? {} : { count }) });
  }

  /** One datagram and its answer, and whom it seemed to come from. */
  question(
    host: string,
    port: number,
    text: string,
    connected: boolean,
  ): Promise<{ readonly text: string; readonly from: Address }> {
    const ask = { op: 'question', host, port, text, connected };
    return this.ask(ask);
  }

  /** Sends an IPv4 SYN with any source. */
  async rawSyn(source: string, sourcePort: number, host: string, port: number): Promise<void> {
    await this.ask({ op: 'raw_syn', source, sourcePort, host, port });
  }

  /** Begins to keep the frames that pass the pod's link. */
  async sniff(): Promise<void> {
    await this.ask({ op: 'sniff' });
  }

  /** How many frames passed since, and how many of them hold `text`. */
  sniffed(text: string): Promise<{ readonly frames: number; readonly holding: number }> {
    return this.ask({ op: 'sniffed', text });
  }

  async stop(): Promise<void> {
    const closed = once(this.#child, 'close');
    this.#child.stdin.end();
    await closed;
  }
}
