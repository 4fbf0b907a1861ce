// SPDX-License-Identifier: Apache-2.0
// Two small HTTP servers: metrics, and readiness.
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { MeshError } from '../src/lib/error.ts';

/** An address to listen at. Port 0 lets the system choose. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** A listening server. */
export interface StatusServer {
  readonly port: number;
  close(): Promise<void>;
}

/** Most connections of one server. */
export const connectionsMax = 64;

const requestTimeoutMs = 10_000;

function listen(address: ListenAddress, answer: RequestListener): Promise<StatusServer> {
  const server: Server = createServer({ requestTimeout: requestTimeoutMs }, answer);
  server.maxConnections = connectionsMax;
  const closed = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(MeshError.from(error)));
    server.listen(address.port, address.host, () => {
      resolve({ port: (server.address() as AddressInfo).port, close: closed });
    });
  });
}

/** Serves `text` at /metrics and /stats/prometheus. Rejects when it cannot listen. */
export function serveMetrics(
  address: ListenAddress,
  source: { readonly contentType: string; text(): Promise<string> },
): Promise<StatusServer> {
  return listen(address, (request, response) => {
    if (request.url !== '/metrics' && request.url !== '/stats/prometheus') {
      response.writeHead(404).end();
      return;
    }
    source.text().then(
      (text) => response.writeHead(200, { 'content-type': source.contentType }).end(text),
      () => response.writeHead(500).end(),
    );
  });
}

/** Serves /healthz/ready: 200 when `pending` names nothing, else 500 with the names. */
export function serveReadiness(
  address: ListenAddress,
  pending: () => readonly string[],
): Promise<StatusServer> {
  return listen(address, (request, response) => {
    if (request.url !== '/healthz/ready') {
      response.writeHead(404).end();
      return;
    }
    const waiting = pending();
    const headers = { 'content-type': 'text/plain' };
    if (waiting.length === 0) {
      response.writeHead(200, headers).end('ready\n');
      return;
    }
    response.writeHead(500, headers).end(`not ready, pending: ${waiting.join(', ')}\n`);
  });
}
