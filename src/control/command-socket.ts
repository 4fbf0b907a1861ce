// SPDX-License-Identifier: Apache-2.0
// How the command line talks to the control plane of the same machine: JSON by HTTP, over a UNIX
// socket in the state folder, which only its owner can enter.
import { chmod, type FileHandle, open, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, request, type Server } from 'node:http';
import { join } from 'node:path';
import { z } from 'zod';
import { MeshError } from '../lib/error.ts';
import type { Logger } from '../lib/log.ts';

/** Answers one kind of request; `query` is what stands behind the "?". Throws MeshError. */
export type CommandHandler = (query: URLSearchParams) => unknown;

/** Handlers by "METHOD /path". */
export type CommandRoutes = ReadonlyMap<string, CommandHandler>;

/** Most connections at one time, and the longest answer, in bytes. */
export const connectionsMax = 16;
export const answerBytesMax: number = 16 * 1024 * 1024;

const socketName = 'control.sock';
const timeoutMs = 30_000;

// A socket's path has at most 107 bytes; a folder's descriptor makes every path short.
function pathIn(folder: FileHandle): string {
  return `/proc/self/fd/${folder.fd}/${socketName}`;
}

async function answer(routes: CommandRoutes, message: IncomingMessage): Promise<[number, unknown]> {
  const url = new URL(message.url ?? '/', 'http://control');
  const handler = routes.get(`${message.method} ${url.pathname}`);
  if (handler === undefined) {
    return [404, { code: 'unsupported', message: `${url.pathname} is not known here` }];
  }
  try {
    return [200, await handler(url.searchParams)];
  } catch (thrown) {
    const { code, message: reason } = MeshError.from(thrown);
    return [code === 'internal' ? 500 : 400, { code, message: reason }];
  }
}

/** The serving end. */
export class CommandSocket {
  readonly #folder: FileHandle;
  readonly #server: Server;

  private constructor(folder: FileHandle, server: Server) {
    this.#folder = folder;
    this.#server = server;
  }

  /** Listens in `folder`, whose lock the caller holds: what is left of another process is replaced. */
  static async open(folder: string, routes: CommandRoutes, log: Logger): Promise<CommandSocket> {
    await rm(join(folder, socketName), { force: true });
    const handle = await open(folder, 'r');
    const server = createServer((message, response) => {
      void answer(routes, message).then(([status, body]) => {
        log.debug({ method: message.method, url: message.url, status }, 'command');
        response.writeHead(status, { 'content-type': 'application/json' });
        response.end(JSON.stringify(body));
      });
    });
    server.maxConnections = connectionsMax;
    server.requestTimeout = timeoutMs;
    const socket = new CommandSocket(handle, server);
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(pathIn(handle), resolve);
      });
      await chmod(join(folder, socketName), 0o600);
      return socket;
    } catch (error) {
      await socket.close();
      throw MeshError.from(error);
    }
  }

  /** Stops serving and takes the socket away. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
    await this.#folder.close();
  }
}

const refusal = z.object({ code: z.string(), message: z.string() });

async function textOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > answerBytesMax) {
      throw new MeshError('limit', `the answer has over ${answerBytesMax} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/**
 * Asks the control plane that has `folder` as its state folder. Rejects with `unavailable` when none
 * runs there, and with what it answers when it refuses.
 */
export async function askControl(folder: string, method: string, path: string): Promise<unknown> {
  const handle = await open(folder, 'r').catch((cause: unknown) => {
    throw new MeshError('unavailable', `${folder} cannot be opened`, { cause });
  });
  try {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const asked = request({ socketPath: pathIn(handle), method, path, timeout: timeoutMs });
      asked.once('response', resolve);
      asked.once('timeout', () => asked.destroy(new MeshError('timeout', 'no answer')));
      asked.once('error', (cause) =>
        reject(new MeshError('unavailable', `no control plane runs in ${folder}`, { cause })),
      );
      asked.end();
    });
    const body: unknown = JSON.parse(await textOf(response));
    if (response.statusCode === 200) {
      return body;
    }
    const { code, message } = refusal.parse(body);
    throw new MeshError(code === 'conflict' ? 'conflict' : 'internal', message);
  } finally {
    await handle.close();
  }
}
