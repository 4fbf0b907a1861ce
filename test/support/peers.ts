// SPDX-License-Identifier: Apache-2.0
// Runs the HBONE peers of test/peers, which share no code with Weft.
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { PassThrough, type Readable, type Writable } from 'node:stream';
import type { LeafFiles } from './test-ca.ts';

// Debian's own: the h2 package is installed for it.
const python = '/usr/bin/python3';
const folder = join(import.meta.dirname, '..', 'peers');

type Child = ChildProcessByStdio<Writable, Readable, Readable>;

/** The line the client ends with. */
export interface ClientReport {
  readonly status: number | null;
  readonly headers: Readonly<Record<string, string>>;
  readonly peer_uris: readonly string[];
  readonly tls_version: string | null;
  readonly alpn: string | null;
  /** The codes of the GOAWAY frames that came. */
  readonly goaways: readonly number[];
  readonly sent: number;
  readonly received: number;
  readonly error: string | null;
}

/** What the server says of one request, or of the end of one. */
export interface ServerEvent {
  readonly event:
    | 'listening'
    | 'request'
    | 'malformed'
    | 'answered'
    | 'settled'
    | 'end'
    | 'draining';
  readonly port?: number;
  readonly method?: string;
  readonly authority?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly client_uris?: readonly string[];
  readonly client_address?: string;
  readonly sent?: number | null;
  readonly received?: number | null;
  readonly error?: string | null;
  /** Whether nothing else came with it. */
  readonly alone?: boolean;
  /** The rule of RFC 9113 a malformed request broke. */
  readonly rule?: string;
}

/** How a client ended, and what came out of its tunnel. */
export interface ClientEnd {
  readonly code: number | null;
  readonly report: ClientReport;
  readonly output: Buffer;
}

async function collect(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) {
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}

/** A client that runs; its standard input is the tunnel's. `before` is a command to run it by. */
export class HboneClient {
  readonly input: Writable;
  readonly output: Readable;
  readonly #child: Child;
  readonly #errors: Promise<Buffer>;
  readonly #closed: Promise<unknown[]>;

  constructor(options: readonly string[], before: readonly string[] = []) {
    const command = [...before, python, join(folder, 'hbone_client.py'), ...options];
    this.#child = spawn(command[0] ?? python, command.slice(1), {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.input = this.#child.stdin;
    // What nobody reads yet when the client exits would else be thrown away.
    this.output = this.#child.stdout.pipe(new PassThrough());
    // The client may end before it has read all there is.
    this.input.on('error', () => {});
    this.#errors = collect(this.#child.stderr);
    this.#closed = once(this.#child, 'close');
  }

  /** Waits for the end, with what is left of the output. */
  async end(): Promise<ClientEnd> {
    const output = await collect(this.output);
    const [code] = (await this.#closed) as [number | null];
    const lines = (await this.#errors).toString().trimEnd().split('\n');
    try {
      return { code, report: JSON.parse(lines.at(-1) ?? '') as ClientReport, output };
    } catch (cause) {
      throw new Error(`the client left no report: ${lines.join('\n')}`, { cause });
    }
  }
}

/** Runs a client to its end, with `input` going in. */
export async function runClient(
  options: readonly string[],
  input: string | Uint8Array = '',
): Promise<ClientEnd> {
  const client = new HboneClient(options);
  client.input.end(input);
  return await client.end();
}

/** The options by which a client proves `leaf` and trusts `rootFile`. */
export function identity(leaf: LeafFiles, rootFile: string): string[] {
  return ['--cert', leaf.cert, '--key', leaf.key, '--ca', rootFile];
}

/** A server that runs, and what it has said so far. */
export class HboneServer {
  readonly events: ServerEvent[] = [];
  readonly port: number;
  readonly #child: Child;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: Child, lines: AsyncIterator<string>, port: number) {
    this.#child = child;
    this.#lines = lines;
    this.port = port;
  }

  static async start(
    options: readonly string[],
    before: readonly string[] = [],
  ): Promise<HboneServer> {
    const program = [python, join(folder, 'hbone_server.py'), '--until-eof'];
    const command = [...before, ...program, ...options];
    const child: Child = spawn(command[0] ?? python, command.slice(1), {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const errors = collect(child.stderr);
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const first = await lines.next();
    if (first.done === true) {
      throw new Error(`the server did not start: ${await errors}`);
    }
    const { port } = JSON.parse(first.value) as ServerEvent;
    return new HboneServer(child, lines, port ?? 0);
  }

  /** The next thing the server says. */
  async next(): Promise<ServerEvent> {
    const line = await this.#lines.next();
    if (line.done === true) {
      throw new Error('the server has ended');
    }
    const event = JSON.parse(line.value) as ServerEvent;
    this.events.push(event);
    return event;
  }

  /** Sends GOAWAY on each connection; resolves with the exit code once the last one has ended. */
  async drain(): Promise<number | null> {
    const closed = once(this.#child, 'close');
    this.#child.kill('SIGTERM');
    const [code] = (await closed) as [number | null];
    return code;
  }

  /** Ends it at once; nothing when it has ended. */
  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) {
      return;
    }
    const closed = once(this.#child, 'close');
    this.#child.kill('SIGKILL');
    await closed;
  }
}
