// SPDX-License-Identifier: Apache-2.0
// What a node proxy serves to those who look after the node: metrics, readiness and admin. There
// is one of each on a node, so a successor opens its own when the proxy before it has let go.
import { MeshError } from '../src/lib/error.ts';
import type { Logger, LogLevel } from '../src/lib/log.ts';
import { ensurePrivateFolder } from '../src/lib/private-files.ts';
import { serveMetrics, serveReadiness } from '../src/lib/status-server.ts';
import {
  type AdminView,
  type PeerUser,
  serveAdminSocket,
  serveAdminTcp,
  socketRoutes,
  viewRoutes,
} from './admin.ts';
import type { Config } from './config.ts';
import type { Metrics } from './metrics.ts';

/** What the servers show, and what they let be done. */
export interface NodeServersParts {
  readonly config: Config;
  readonly metrics: Metrics;
  readonly view: AdminView;
  readonly peerUser: PeerUser;
  /** Begins the end of the process. */
  readonly quit: () => void;
  readonly setLogLevel: (level: LogLevel) => void;
  readonly log: Logger;
}

/** The servers of one proxy. Main thread only. */
export class NodeServers {
  readonly #parts: NodeServersParts;
  readonly #servers: { close(): Promise<void> }[] = [];

  constructor(parts: NodeServersParts) {
    this.#parts = parts;
  }

  /** Rejects with MeshError, and leaves none open, when a port or a socket is taken. */
  async open(): Promise<void> {
    try {
      await this.#openAll();
    } catch (error) {
      await this.close();
      throw MeshError.from(error);
    }
  }

  async #openAll(): Promise<void> {
    const { config, metrics: shown, view, log } = this.#parts;
    const metrics = await serveMetrics(config.metrics, shown);
    this.#servers.push(metrics);
    const readiness = await serveReadiness(config.readiness, () => view.pending());
    this.#servers.push(readiness);
    await this.#openAdmin();
    log.info({ metrics: metrics.port, readiness: readiness.port }, 'listening');
  }

  /** Ends all, and what is being served. */
  async close(): Promise<void> {
    await Promise.all(this.#servers.splice(0).map((server) => server.close()));
  }

  async #openAdmin(): Promise<void> {
    const { config, view, peerUser, quit, setLogLevel, log } = this.#parts;
    const { adminSocket, admin, stateDir } = config;
    await ensurePrivateFolder(stateDir);
    const routes = socketRoutes(view, { quit, setLogLevel }, log);
    this.#servers.push(await serveAdminSocket(adminSocket, routes, peerUser, log));
    if (admin !== undefined) {
      const server = await serveAdminTcp(admin, viewRoutes(view, log));
      this.#servers.push(server);
      log.info({ port: server.port }, 'admin is served over TCP, to look but not to touch');
    }
  }
}
