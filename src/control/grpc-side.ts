// SPDX-License-Identifier: Apache-2.0
// A gRPC server over connections that somebody else accepted.
import type { TLSSocket } from 'node:tls';
import {
  type ConnectionInjector,
  Server,
  ServerCredentials,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';

/** A gRPC server without a port of its own. */
export class GrpcSide {
  readonly #server: Server;
  readonly #injector: ConnectionInjector;
  #stopped = false;

  /**
   * @param bytesMax the largest message it takes from a client.
   * @param idleMs a connection without a call for so long is ended; left out: never.
   */
  constructor(bytesMax: number, idleMs?: number) {
    this.#server = new Server({
      ...(idleMs === undefined ? {} : { 'grpc.max_connection_idle_ms': idleMs }),
      'grpc.max_receive_message_length': bytesMax,
      'grpc.keepalive_time_ms': 30_000,
      'grpc.keepalive_timeout_ms': 10_000,
      'grpc-node.max_session_memory': 64, // MiB
    });
    // "Insecure" only says that TLS is not this server's work: the sockets come from TlsPort.
    this.#injector = this.#server.createConnectionInjector(ServerCredentials.createInsecure());
  }

  /** Adds a service, before the first connection. */
  addService(definition: ServiceDefinition, handlers: UntypedServiceImplementation): void {
    this.#server.addService(definition, handlers);
  }

  /** Serves a connection whose TLS handshake is done. */
  inject(socket: TLSSocket): void {
    if (this.#stopped) {
      socket.destroy();
    } else {
      this.#injector.injectConnection(socket);
    }
  }

  /** Lets open calls end, and cuts them after `graceMs`. May be called again. */
  async stop(graceMs: number): Promise<void> {
    if (this.#stopped) {
      return;
    }
    this.#stopped = true;
    const timer = setTimeout(() => this.#server.forceShutdown(), graceMs);
    await new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve()));
    clearTimeout(timer);
  }
}
