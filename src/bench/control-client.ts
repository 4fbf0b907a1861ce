// SPDX-License-Identifier: Apache-2.0
// A process that holds delta streams to a control plane and says when what arrives: the parent
// measures, so that neither end measures itself.
import { promisify } from 'node:util';
import { BinaryReader } from '@bufbuild/protobuf/wire';
import { ChannelCredentials, Client, type ClientDuplexStream } from '@grpc/grpc-js';
import { deltaMethod, deltaRequest, messageBytesMax, typeUrls } from '../xds/wire.ts';

/** What the parent asks for. Times are of the monotonic clock, which all processes share. */
export type ClientOrder =
  | { readonly kind: 'connect'; readonly address: string; readonly material: ClientMaterial }
  | { readonly kind: 'open'; readonly streams: number; readonly resources: number }
  | { readonly kind: 'watch' }
  | { readonly kind: 'close' };

/** A node's certificate, and the root to trust, as PEM. */
export interface ClientMaterial {
  readonly rootPem: string;
  readonly keyPem: string;
  readonly chainPem: string;
}

/** What one stream saw. */
export interface StreamTimes {
  /** When it began, and when it had everything that there was; nanoseconds. */
  readonly startNs: number;
  readonly endNs: number;
  readonly resources: number;
  readonly bytes: number;
}

/**
 * Answers to the parent: of `open` once all streams have all resources, of `watch` once each got a
 * push. There is one at each order; `watch` is answered twice, first when it has begun.
 */
export interface ClientAnswer {
  readonly streams: readonly StreamTimes[];
}

const connectMs = 60_000;

type RawStream = ClientDuplexStream<Buffer, Buffer>;

interface Scanned {
  readonly typeUrl: string;
  readonly nonce: string;
  readonly resources: number;
}

// Only what an answer needs: decoding it all would measure the decoder.
function scan(bytes: Buffer): Scanned {
  const reader = new BinaryReader(bytes);
  const found = { typeUrl: '', nonce: '', resources: 0 };
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 4) {
      found.typeUrl = reader.string();
    } else if (field === 5) {
      found.nonce = reader.string();
    } else {
      found.resources += field === 2 ? 1 : 0;
      reader.skip(wireType);
    }
  }
  return found;
}

function nowNs(): number {
  return Number(process.hrtime.bigint());
}

class MeasuredStream {
  readonly #raw: RawStream;
  readonly #client: Client;
  #startNs = 0;
  #resources = 0;
  #bytes = 0;
  #onPush: () => void = () => undefined;

  constructor(client: Client) {
    this.#client = client;
    this.#raw = client.makeBidiStreamRequest(
      deltaMethod.path,
      (request: Buffer) => request,
      (response: Buffer) => response,
    );
    this.#raw.on('error', () => undefined);
    this.#raw.on('data', (bytes: Buffer) => this.#take(bytes));
  }

  #take(bytes: Buffer): void {
    const { typeUrl, nonce, resources } = scan(bytes);
    this.#bytes += bytes.length;
    this.#resources += resources;
    const answer = deltaRequest({ typeUrl, responseNonce: nonce });
    this.#raw.write(deltaMethod.requestSerialize(answer));
    this.#onPush();
  }

  #times(): StreamTimes {
    const times = { startNs: this.#startNs, endNs: nowNs() };
    return { ...times, resources: this.#resources, bytes: this.#bytes };
  }

  /** Subscribes, and resolves when so many resources have come. */
  open(resources: number): Promise<StreamTimes> {
    this.#startNs = nowNs();
    for (const typeUrl of [typeUrls.authorization, typeUrls.address]) {
      this.#raw.write(deltaMethod.requestSerialize(deltaRequest({ typeUrl })));
    }
    return new Promise((resolve) => {
      this.#onPush = () => {
        if (this.#resources >= resources) {
          this.#onPush = () => undefined;
          resolve(this.#times());
        }
      };
    });
  }

  /** Resolves at the next push. */
  watch(): Promise<StreamTimes> {
    return new Promise((resolve) => {
      this.#onPush = () => {
        this.#onPush = () => undefined;
        resolve(this.#times());
      };
    });
  }

  close(): void {
    this.#raw.cancel();
    this.#client.close();
  }
}

let clientOf: () => Client = () => {
  throw new RangeError('not connected');
};
let streams: MeasuredStream[] = [];

// A connection is made, with its handshake, before anything is measured.
async function connected(): Promise<MeasuredStream> {
  const client = clientOf();
  const waitForReady = promisify(client.waitForReady.bind(client));
  await waitForReady(Date.now() + connectMs);
  return new MeasuredStream(client);
}

async function obey(order: ClientOrder): Promise<readonly StreamTimes[]> {
  switch (order.kind) {
    case 'connect': {
      const { rootPem, keyPem, chainPem } = order.material;
      const [root, key, chain] = [rootPem, keyPem, chainPem].map((pem) => Buffer.from(pem));
      const credentials = ChannelCredentials.createSsl(root, key, chain);
      clientOf = () =>
        new Client(order.address, credentials, {
          'grpc.use_local_subchannel_pool': 1,
          'grpc.max_receive_message_length': messageBytesMax,
        });
      return [];
    }
    case 'open': {
      const fresh = await Promise.all(Array.from({ length: order.streams }, connected));
      streams.push(...fresh);
      return await Promise.all(fresh.map((stream) => stream.open(order.resources)));
    }
    case 'watch':
      return await Promise.all(streams.map((stream) => stream.watch()));
    case 'close':
      for (const stream of streams) {
        stream.close();
      }
      streams = [];
      return [];
  }
}

process.on('message', (order: ClientOrder) => {
  void obey(order).then((times) => process.send?.({ streams: times } satisfies ClientAnswer));
  if (order.kind === 'watch') {
    process.send?.({ streams: [] } satisfies ClientAnswer);
  }
});
