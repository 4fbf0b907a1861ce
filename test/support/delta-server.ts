// SPDX-License-Identifier: Apache-2.0
// A delta ADS server on plain grpc-js for tests of its clients: it keeps what it was asked and
// sends what it is told to.
import { EventEmitter, once } from 'node:events';
import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js';
import {
  type Address,
  AddressSchema,
  type Authorization,
  AuthorizationSchema,
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
  deltaMethod,
  TrustBundleSchema,
  typeUrls,
} from '../../src/xds/wire.ts';

/** A resource with its version, for `send`. */
export interface Versioned {
  readonly name: string;
  readonly version: string;
  readonly body: Uint8Array;
}

type Stream = ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

/** Encodes an Address resource. */
export function addressResource(
  name: string,
  version: string,
  init: MessageInitShape<typeof AddressSchema>,
): Versioned {
  const message: Address = create(AddressSchema, init);
  return { name, version, body: toBinary(AddressSchema, message) };
}

/** Encodes an Authorization resource. */
export function policyResource(
  name: string,
  version: string,
  init: MessageInitShape<typeof AuthorizationSchema>,
): Versioned {
  const message: Authorization = create(AuthorizationSchema, init);
  return { name, version, body: toBinary(AuthorizationSchema, message) };
}

/** Encodes a TrustBundle resource. */
export function trustResource(
  name: string,
  version: string,
  init: MessageInitShape<typeof TrustBundleSchema>,
): Versioned {
  return { name, version, body: toBinary(TrustBundleSchema, create(TrustBundleSchema, init)) };
}

/** Serves on a port of localhost that the system chooses. */
export class DeltaServer {
  readonly #server = new Server();
  readonly #events = new EventEmitter();
  readonly #requests: DeltaDiscoveryRequest[] = [];
  #stream: Stream | undefined;
  #taken = 0;
  #nonce = 0;
  address = '';

  static async start(
    credentials: ServerCredentials = ServerCredentials.createInsecure(),
    address = 'localhost:0',
  ): Promise<DeltaServer> {
    const self = new DeltaServer();
    self.addTo(self.#server);
    const port = await new Promise<number>((resolve, reject) => {
      self.#server.bindAsync(address, credentials, (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      );
    });
    self.address = `localhost:${port}`;
    return self;
  }

  /** Makes another server serve the stream, on its own port. */
  addTo(server: Server): void {
    server.addService({ delta: deltaMethod }, { delta: (stream: Stream) => this.#accept(stream) });
  }

  /** The next request, in the order of arrival over all streams. */
  async next(): Promise<DeltaDiscoveryRequest> {
    while (this.#requests.length <= this.#taken) {
      await once(this.#events, 'request');
    }
    this.#taken += 1;
    return this.#requests[this.#taken - 1] as DeltaDiscoveryRequest;
  }

  /** Sends one response on the newest stream and returns its nonce. */
  send(typeUrl: string, resources: readonly Versioned[], removedResources: string[] = []): string {
    this.#nonce += 1;
    const nonce = `n${this.#nonce}`;
    this.#stream?.write(
      create(DeltaDiscoveryResponseSchema, {
        typeUrl,
        nonce,
        removedResources,
        resources: resources.map(({ name, version, body }) => ({
          name,
          version,
          resource: { typeUrl, value: body },
        })),
      }),
    );
    return nonce;
  }

  /** Answers the first requests for both types, of `asked` in all, and takes both ACKs. */
  async serve(
    addresses: readonly Versioned[],
    policies: readonly Versioned[],
    asked = 2,
  ): Promise<void> {
    for (let types = 0; types < asked; types += 1) {
      await this.next();
    }
    this.send(typeUrls.authorization, policies);
    this.send(typeUrls.address, addresses);
    await this.next();
    await this.next();
  }

  /** Ends the newest stream from the server's side. */
  endStream(): void {
    this.#stream?.end();
  }

  close(): void {
    this.#server.forceShutdown();
  }

  #accept(stream: Stream): void {
    this.#stream = stream;
    stream.on('data', (request: DeltaDiscoveryRequest) => {
      this.#requests.push(request);
      this.#events.emit('request');
    });
    stream.on('error', () => undefined);
  }
}
