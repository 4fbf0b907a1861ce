// SPDX-License-Identifier: Apache-2.0
// The one TLS port of the control plane. A client may come without a certificate (that is how a
// node joins), but one that it shows must be good, or the connection ends.
import { constants } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { createServer, type Server, type TLSSocket, type TlsOptions } from 'node:tls';
import { MeshError } from '../lib/error.ts';
import type { Logger } from '../lib/log.ts';
import type { ListenAddress } from './config.ts';
import { HandshakeGate } from './handshake-gate.ts';

/** The server's own key and certificates, in PEM. */
export interface ServerMaterial {
  readonly keyPem: string;
  /** Leaf first, the root last: a node that joins knows the root by its hash alone. */
  readonly chainPem: readonly string[];
  readonly rootPem: string;
}

/** Most connections at one time on each address. */
export const connectionsMax = 20_000;

/** Most connections at one time, over all addresses, whose clients showed no certificate. */
export const strangersMax = 256;

/** How long a connection without a client certificate may last, whatever is done on it. */
export const strangerLifeMs = 30_000;

function optionsOf(material: ServerMaterial): TlsOptions {
  return {
    key: material.keyPem,
    cert: material.chainPem.join(''),
    ca: material.rootPem,
    minVersion: 'TLSv1.3',
    ALPNProtocols: ['h2'],
    requestCert: true,
    // Decided in `#accept`, since there is no "if it shows one".
    rejectUnauthorized: false,
    // A resumed session would carry a certificate that nobody checked this time.
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
}

/** The listening side of the control plane's port. */
export class TlsPort {
  readonly #log: Logger;
  readonly #onConnection: (socket: TLSSocket) => void;
  readonly #servers: Server[] = [];
  readonly #handshakes: HandshakeGate;
  readonly #sockets: Set<TLSSocket> = new Set();
  // Oldest first.
  readonly #strangers: Set<TLSSocket> = new Set();
  #material: ServerMaterial;

  /** @param onConnection gets each connection that is good, after its handshake. */
  constructor(material: ServerMaterial, log: Logger, onConnection: (socket: TLSSocket) => void) {
    this.#material = material;
    this.#log = log;
    this.#handshakes = new HandshakeGate((peer, reason) =>
      log.debug({ peer, reason }, 'handshake cut off'),
    );
    this.#onConnection = onConnection;
  }

  /**
   * Listens on all addresses and returns the port of the first; those that say port 0 get the
   * same one. Throws MeshError when one of them cannot be had.
   */
  async listen(addresses: readonly ListenAddress[]): Promise<number> {
    let chosen = 0;
    for (const { host, port } of addresses) {
      const server = createServer(optionsOf(this.#material), (socket) => this.#accept(socket));
      server.maxConnections = connectionsMax;
      server.on('connection', (socket: Socket) => this.#handshakes.enter(socket));
      server.on('tlsClientError', (error, socket) => {
        const peer = socket.remoteAddress;
        this.#log.debug({ peer, reason: error.message }, 'handshake failed');
      });
      this.#servers.push(server);
      server.listen({ host, port: port === 0 ? chosen : port });
      try {
        await once(server, 'listening');
      } catch (thrown) {
        throw MeshError.from(thrown);
      }
      const bound = server.address();
      chosen ||= typeof bound === 'object' ? (bound?.port ?? 0) : 0;
    }
    return chosen;
  }

  /** Serves new connections with this key and certificate from now on. */
  renew(material: ServerMaterial): void {
    this.#material = material;
    for (const server of this.#servers) {
      server.setSecureContext(optionsOf(material));
    }
  }

  /** Takes no new connections. */
  stopListening(): void {
    for (const server of this.#servers) {
      server.close();
    }
  }

  /** Ends what is still open. */
  destroy(): void {
    this.#handshakes.close();
    for (const socket of this.#sockets) {
      socket.destroy();
    }
  }

  #accept(socket: TLSSocket): void {
    this.#handshakes.leave(socket);
    // A reset by the peer must not end the process; gRPC sees the close.
    socket.on('error', (error) => this.#log.debug({ reason: error.message }, 'connection broke'));
    const certificate = socket.getPeerX509Certificate();
    const good = certificate === undefined || socket.authorized;
    // Fails closed: a certificate that does not verify is worse than none.
    if (!good || socket.isSessionReused()) {
      const { remoteAddress: peer, authorizationError } = socket;
      const reason = String(authorizationError ?? 'session reuse');
      this.#log.warn({ peer, reason }, 'client certificate refused');
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    // A connection never outlives the certificate that opened it. Leaves last a day at most, so
    // the time always fits a timer.
    const lifeMs =
      certificate === undefined
        ? strangerLifeMs
        : Math.max(0, certificate.validToDate.getTime() - Date.now());
    const timer = setTimeout(() => socket.destroy(), lifeMs).unref();
    socket.on('close', () => {
      clearTimeout(timer);
      this.#sockets.delete(socket);
      this.#strangers.delete(socket);
    });
    if (certificate === undefined) {
      this.#makeRoomFor(socket);
    }
    this.#onConnection(socket);
  }

  // The oldest goes: joining takes a moment, so it is the least likely to be a node. Were the
  // newest refused, whoever holds all places would keep every node from joining.
  #makeRoomFor(stranger: TLSSocket): void {
    this.#strangers.add(stranger);
    const [oldest] = this.#strangers;
    if (oldest !== undefined && this.#strangers.size > strangersMax) {
      this.#strangers.delete(oldest);
      this.#log.debug({ peer: oldest.remoteAddress }, 'too many clients without a certificate');
      oldest.destroy();
    }
  }
}
