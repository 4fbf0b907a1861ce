// SPDX-License-Identifier: Apache-2.0
// Talks to the node proxies of this machine by their admin sockets.
import { globSync } from 'node:fs';
import { request } from 'node:http';
import type { Command } from 'commander';
import type { ProxyStatus } from '../lib/admin-api.ts';
import { MeshError } from '../lib/error.ts';

/** Longest answer that is read, in bytes. */
export const answerBytesMax: number = 256 * 1024 * 1024;

const timeoutMs = 15_000;

/** Where admin sockets lie that nobody named: of a lab's nodes, and of a node of its own. */
export const socketPlaces: readonly string[] = [
  '/run/weft/*/*/state/admin.sock',
  '/run/weft/*/admin.sock',
  '/var/lib/weft/admin.sock',
  '/var/lib/weft/*/admin.sock',
];

/** Which proxies a verb is about, as its flags say. */
export interface ProxyFlags {
  readonly socket?: readonly string[];
  readonly lab?: string;
  readonly node?: string;
}

const collect = (text: string, before: string[] = []): string[] => [...before, text];

/** Adds the flags that say which proxies a verb is about. */
export function withProxyFlags(command: Command): Command {
  return command
    .option('--socket <path>', 'admin socket of a node proxy; may be repeated', collect)
    .option('--lab <name>', 'only the nodes of this lab')
    .option('--node <name>', 'only this node');
}

/**
 * The admin sockets that the flags, else WEFT_ADMIN_SOCKET, else the usual places name. Throws
 * MeshError `unavailable`, which says what to do, when there is none.
 */
export function adminSockets(flags: ProxyFlags, environment: NodeJS.ProcessEnv): string[] {
  const named = environment['WEFT_ADMIN_SOCKET'];
  if (flags.socket !== undefined || (named !== undefined && flags.lab === undefined)) {
    return [...(flags.socket ?? [named ?? ''])];
  }
  const { lab } = flags;
  const places = lab === undefined ? socketPlaces : [`/run/weft/${lab}/*/state/admin.sock`];
  const found = globSync(places as string[]).sort();
  if (found.length === 0) {
    throw new MeshError(
      'unavailable',
      'no node proxy was found: name its admin socket by --socket (it is admin.sock in the folder ' +
        'given by --state), or keep a lab by "weft lab --keep"',
    );
  }
  return found;
}

function refusal(socket: string, error: Error): MeshError {
  const code = 'code' in error ? error.code : '';
  if (code === 'EACCES' || code === 'EPERM') {
    return new MeshError('denied', `${socket} is for root: run this with sudo`, { cause: error });
  }
  const gone = code === 'ENOENT' || code === 'ECONNREFUSED';
  const what = gone ? 'no node proxy listens there' : error.message;
  return new MeshError('unavailable', `${socket}: ${what}`, { cause: error });
}

/** Asks a proxy and answers the text. Rejects with `invalid` when it says that the ask is wrong. */
export function askProxy(socket: string, path: string, method = 'GET'): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { socketPath: socket, path, method, timeout: timeoutMs, agent: false } as const;
    const asked = request(options, (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        chunks.push(chunk);
        if (size > answerBytesMax) {
          response.destroy(new MeshError('limit', `an answer of over ${answerBytesMax} bytes`));
        }
      });
      response.on('error', (error) => reject(MeshError.from(error)));
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8');
        const { statusCode = 0 } = response;
        if (statusCode === 200) {
          resolve(text);
        } else {
          const code = statusCode < 500 ? 'invalid' : 'unavailable';
          reject(new MeshError(code, text.trim() || `${path}: status ${statusCode}`));
        }
      });
    });
    asked.on('timeout', () => asked.destroy(new MeshError('timeout', `${socket} is silent`)));
    asked.on('error', (error) =>
      reject(error instanceof MeshError ? error : refusal(socket, error)),
    );
    asked.end();
  });
}

/** As `askProxy`, for answers of JSON; `T` is what the path is documented to answer. */
export async function askJson<T>(socket: string, path: string): Promise<T> {
  return JSON.parse(await askProxy(socket, path)) as T;
}

/** A proxy that answered, or why it did not. */
export type Asked<T> =
  | { readonly socket: string; readonly answer: T }
  | { readonly socket: string; readonly error: string };

/** Asks every proxy that the flags name; those of other nodes than `--node` are left out. */
export async function askAll<T extends { readonly node: string }>(
  flags: ProxyFlags,
  path: string,
): Promise<Asked<T>[]> {
  const sockets = adminSockets(flags, process.env);
  const asked = await Promise.all(
    sockets.map(async (socket): Promise<Asked<T>> => {
      try {
        return { socket, answer: await askJson<T>(socket, path) };
      } catch (error) {
        return { socket, error: MeshError.from(error).message };
      }
    }),
  );
  const { node } = flags;
  const left = asked.filter((each) => !('answer' in each) || wanted(each.answer.node, node));
  if (node !== undefined && !left.some((each) => 'answer' in each)) {
    throw new MeshError('unavailable', `no proxy of a node ${node} answers`);
  }
  return left;
}

const wanted = (node: string, only: string | undefined): boolean =>
  only === undefined || only === node;

/** The one proxy that the flags name. Throws MeshError `invalid` when they name several. */
export async function oneSocket(flags: ProxyFlags): Promise<string> {
  const asked = await askAll<ProxyStatus>(flags, '/status');
  const [first] = asked;
  const answered = asked.flatMap((each) => ('answer' in each ? [each] : []));
  if (answered.length > 1) {
    const nodes = answered.map(({ answer }) => answer.node).join(', ');
    throw new MeshError('invalid', `proxies of several nodes answer (${nodes}): say --node`);
  }
  const [one] = answered;
  if (one === undefined) {
    const why = first !== undefined && 'error' in first ? first.error : 'none';
    throw new MeshError('unavailable', why);
  }
  return one.socket;
}
