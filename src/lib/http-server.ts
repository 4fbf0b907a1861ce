// SPDX-License-Identifier: Apache-2.0
// The small HTTP servers of a node: fixed paths, no bodies, and a limit on everything.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { MeshError } from './error.ts';

/** Most connections of one server. */
export const connectionsMax = 64;
/** How long a request may take to arrive, in milliseconds. */
export const requestTimeoutMs = 10_000;
/** How long an idle connection is kept, in milliseconds. */
export const idleTimeoutMs = 5_000;
/** Most bytes of a request's headers. */
export const headerBytesMax: number = 8 * 1024;

/** What is sent back. */
export interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
  /** The methods that would do, when this one does not. */
  readonly allow?: string;
}

/** Answers one request. What it throws is answered by the status of its code. */
export type Handler = (query: URLSearchParams) => Answer | Promise<Answer>;

/** What is served, by path. */
export type Routes = Readonly<Record<string, Partial<Readonly<Record<'GET' | 'POST', Handler>>>>>;

const statusOf: Readonly<Partial<Record<MeshError['code'], number>>> = {
  invalid: 400,
  unavailable: 503,
  timeout: 504,
  limit: 429,
};

/** An answer of text. */
export function textAnswer(status: number, body: string): Answer {
  return { status, contentType: 'text/plain; charset=utf-8', body };
}

/** An answer of JSON with status 200. */
export function jsonAnswer(value: unknown): Answer {
  return { status: 200, contentType: 'application/json', body: `${JSON.stringify(value)}\n` };
}

async function answerTo(routes: Routes, method: string, target: string): Promise<Answer> {
  const url = URL.parse(target, 'http://local');
  const route = url === null ? undefined : routes[url.pathname];
  if (url === null || route === undefined) {
    return textAnswer(404, 'not found\n');
  }
  const handler = method === 'GET' || method === 'POST' ? route[method] : undefined;
  if (handler === undefined) {
    const allow = Object.keys(route).join(', ');
    return { ...textAnswer(405, `only ${allow}\n`), allow };
  }
  try {
    return await handler(url.searchParams);
  } catch (thrown) {
    const error = MeshError.from(thrown);
    // What went wrong inside is for the log, not for whoever asks.
    const status = statusOf[error.code];
    return textAnswer(
      status ?? 500,
      `${status === undefined ? 'internal error' : error.message}\n`,
    );
  }
}

function send(request: IncomingMessage, response: ServerResponse, answer: Answer): void {
  const { status, contentType, body } = answer;
  response.setHeader('content-type', contentType);
  response.setHeader('content-length', Buffer.byteLength(body));
  if (answer.allow !== undefined) {
    response.setHeader('allow', answer.allow);
  }
  response.setHeader('x-content-type-options', 'nosniff');
  // Nobody reads a body here, so one ends the connection.
  const hasBody = Number(request.headers['content-length'] ?? 0) > 0;
  if (hasBody || request.headers['transfer-encoding'] !== undefined) {
    response.setHeader('connection', 'close');
    response.on('finish', () => request.destroy());
  }
  response.writeHead(status).end(body);
}

/** A server of these routes, which does not listen yet. Other methods are answered by 405. */
export function createHttpServer(routes: Routes): Server {
  // Not an object's own lookup: "constructor" is no path.
  const paths: Routes = Object.assign(Object.create(null), routes);
  const limits = {
    requestTimeout: requestTimeoutMs,
    headersTimeout: requestTimeoutMs,
    keepAliveTimeout: idleTimeoutMs,
    maxHeaderSize: headerBytesMax,
  };
  const server = createServer(limits, (request, response) => {
    answerTo(paths, request.method ?? '', request.url ?? '').then(
      (answer) => send(request, response, answer),
      () => response.destroy(),
    );
  });
  server.maxConnections = connectionsMax;
  return server;
}

/** Ends a server and its connections. */
export function closeHttpServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
