// SPDX-License-Identifier: Apache-2.0
// Two small HTTP servers: metrics, and readiness.
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { MeshError } from './error.ts';
import { closeHttpServer, createHttpServer, type Routes, textAnswer } from './http-server.ts';
import type { ListenAddress } from './listen-address.ts';

/** A listening server. */
export interface StatusServer {
  readonly port: number;
  close(): Promise<void>;
}

/** Serves `routes` at a TCP address. Rejects with MeshError when it cannot listen. */
export function serveTcp(address: ListenAddress, routes: Routes): Promise<StatusServer> {
  const server: Server = createHttpServer(routes);
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(MeshError.from(error)));
    server.listen(address.port, address.host, () => {
      const { port } = server.address() as AddressInfo;
      resolve({ port, close: () => closeHttpServer(server) });
    });
  });
}

/** Serves `text` at /metrics and /stats/prometheus. Rejects when it cannot listen. */
export function serveMetrics(
  address: ListenAddress,
  source: { readonly contentType: string; text(): Promise<string> },
): Promise<StatusServer> {
  const route = {
    GET: async () => ({
      status: 200,
      contentType: source.contentType,
      body: await source.text(),
    }),
  };
  return serveTcp(address, { '/metrics': route, '/stats/prometheus': route });
}

/** Serves /healthz/ready: 200 when `pending` names nothing, else 500 with the names. */
export function serveReadiness(
  address: ListenAddress,
  pending: () => readonly string[],
): Promise<StatusServer> {
  const ready = () => {
    const waiting = pending();
    return waiting.length === 0
      ? textAnswer(200, 'ready\n')
      : textAnswer(500, `not ready, pending: ${waiting.join(', ')}\n`);
  };
  return serveTcp(address, { '/healthz/ready': { GET: ready } });
}
