// SPDX-License-Identifier: Apache-2.0
// A delta stream without a gRPC library: the session is Node's, the framing is five bytes. What
// arrives is timed before anything is done about it, so that the client is not what is measured.
import { once } from 'node:events';
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from 'node:http2';
import { connect as connectTls } from 'node:tls';
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { deltaMethod } from '../../xds/wire.ts';

/** A node's certificate, and the root to trust, as PEM. */
export interface ClientMaterial {
  readonly rootPem: string;
  readonly keyPem: string;
  readonly chainPem: string;
}

/** One response, as far as an answer to it needs. */
export interface Arrival {
  /** When the last byte of it had been read, by the monotonic clock. */
  readonly ns: number;
  readonly resources: number;
  readonly bytes: number;
}

// Of gRPC: no compression, then the length.
const prefixBytes = 5;
// Tags of DeltaDiscoveryRequest and DeltaDiscoveryResponse.
const requestFields = { typeUrl: 2, nonce: 6 } as const;
const responseFields = { resources: 2, typeUrl: 4, nonce: 5 } as const;

/** The monotonic clock, which all processes share, in nanoseconds. */
export function nowNs(): number {
  return Number(process.hrtime.bigint());
}

function frameOf(typeUrl: string, nonce: string): Buffer {
  const writer = new BinaryWriter();
  writer.tag(requestFields.typeUrl, WireType.LengthDelimited).string(typeUrl);
  if (nonce !== '') {
    writer.tag(requestFields.nonce, WireType.LengthDelimited).string(nonce);
  }
  const message = writer.finish();
  const frame = Buffer.alloc(prefixBytes + message.length);
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, prefixBytes);
  return frame;
}

/** A connection with its handshake done, and one stream on it. */
export class MeasuredStream {
  readonly #session: ClientHttp2Session;
  readonly #stream: ClientHttp2Stream;
  // What has come of a message that is not whole yet.
  #parts: Buffer[] = [];
  #length = 0;
  #onArrival: (arrival: Arrival) => void = () => undefined;

  private constructor(session: ClientHttp2Session) {
    this.#session = session;
    this.#stream = session.request(
      {
        ':method': 'POST',
        ':path': deltaMethod.path,
        'content-type': 'application/grpc',
        te: 'trailers',
      },
      { endStream: false },
    );
    this.#stream.on('error', () => undefined);
    this.#stream.on('data', (bytes: Buffer) => this.#take(bytes, nowNs()));
  }

  /** Connects to `HOST:PORT`. Rejects when the connection or its handshake fails. */
  static async open(address: string, material: ClientMaterial): Promise<MeasuredStream> {
    const { hostname, port } = new URL(`https://${address}`);
    const socket = connectTls({
      ...{ host: hostname, servername: hostname, port: Number(port), ALPNProtocols: ['h2'] },
      ...{ ca: material.rootPem, key: material.keyPem, cert: material.chainPem },
    });
    await once(socket, 'secureConnect');
    const session = connect(`https://${address}`, { createConnection: () => socket });
    session.on('error', () => undefined);
    await once(session, 'remoteSettings');
    return new MeasuredStream(session);
  }

  /** Asks for everything of a type. */
  subscribe(typeUrl: string): void {
    this.#stream.write(frameOf(typeUrl, ''));
  }

  /** Is told of every response from now on. */
  onArrival(listener: (arrival: Arrival) => void): void {
    this.#onArrival = listener;
  }

  close(): void {
    this.#session.destroy();
  }

  #take(bytes: Buffer, ns: number): void {
    this.#parts.push(bytes);
    this.#length += bytes.length;
    let wanted = this.#wanted();
    while (wanted !== undefined && this.#length >= wanted) {
      const all = Buffer.concat(this.#parts);
      this.#parts = [all.subarray(wanted)];
      this.#length -= wanted;
      this.#answer(all.subarray(prefixBytes, wanted), ns);
      wanted = this.#wanted();
    }
  }

  // How long the message is that comes now, prefix included.
  #wanted(): number | undefined {
    if (this.#length < prefixBytes) {
      return undefined;
    }
    if ((this.#parts[0]?.length ?? 0) < prefixBytes) {
      this.#parts = [Buffer.concat(this.#parts)];
    }
    return prefixBytes + (this.#parts[0]?.readUInt32BE(1) ?? 0);
  }

  // Decoding the resources would measure the decoder.
  #answer(message: Buffer, ns: number): void {
    const reader = new BinaryReader(message);
    const found = { typeUrl: '', nonce: '', resources: 0 };
    while (reader.pos < reader.len) {
      const [field, wireType] = reader.tag();
      if (field === responseFields.typeUrl) {
        found.typeUrl = reader.string();
      } else if (field === responseFields.nonce) {
        found.nonce = reader.string();
      } else {
        found.resources += field === responseFields.resources ? 1 : 0;
        reader.skip(wireType);
      }
    }
    this.#stream.write(frameOf(found.typeUrl, found.nonce));
    this.#onArrival({ ns, resources: found.resources, bytes: message.length });
  }
}
