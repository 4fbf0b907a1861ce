// SPDX-License-Identifier: Apache-2.0
// One proxy's connection: requests go out one at a time, each is answered by exactly one ack.
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import type { PacketHandlers, Packets } from '../../native/index.ts';
import { MeshError } from '../lib/error.ts';
import {
  Version,
  WorkloadRequestSchema,
  WorkloadResponseSchema,
  ZdsHelloSchema,
} from '../lib/gen/zds_pb.js';
import { captureKinds, type MeshConfig, sameNodeWays } from '../lib/pod-settings.ts';

/** Longest packet of the protocol, in bytes. */
export const packetBytesMax = 1024;
/** Most requests that wait for their turn on one connection. */
export const requestsMax = 4096;
/** How long a proxy may take to say hello, and to answer one request. */
export const answerTimeoutMs = 5_000;

type Request = MessageInitShape<typeof WorkloadRequestSchema>;

interface Waiting {
  readonly packet: Uint8Array;
  readonly netns: number | undefined;
  resolve(): void;
  reject(error: MeshError): void;
}

/** What happens on a connection besides its answers. */
export interface ConnectionEvents {
  /** The proxy said hello in a version we speak. */
  onHello(): void;
  onClose(reason: string): void;
  /** The proxy says what counts for the whole mesh, when it likes. */
  onMeshConfig(config: MeshConfig): void;
}

// What a later proxy may know and this agent does not is left to the node.
function meshConfigOf({ capture, sameNode }: { capture: string; sameNode: string }): MeshConfig {
  return {
    capture: captureKinds.find((kind) => kind === capture),
    sameNode: sameNodeWays.find((way) => way === sameNode),
  };
}

/** The agent's end of one connection. Main thread only. */
export class ZdsConnection {
  readonly #packets: Packets;
  readonly #events: ConnectionEvents;
  readonly #queue: Waiting[] = [];
  #greeted = false;
  #closed = false;
  #inFlight: Waiting | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(packets: Packets, events: ConnectionEvents) {
    this.#packets = packets;
    this.#events = events;
    this.#arm('no hello');
  }

  /** Whether the proxy has said hello. */
  get greeted(): boolean {
    return this.#greeted;
  }

  /** The proxy's process. */
  get pid(): number {
    return this.#packets.pid;
  }

  /** What the transport has to call. */
  handlers(): PacketHandlers {
    return {
      onMessage: (data, fds) => this.#receive(data, fds),
      onClose: (reason) => this.close(reason),
    };
  }

  /**
   * Sends one request after those before it; resolves at its ack. Rejects with MeshError: `denied`
   * with the proxy's sentence when it refuses, `unavailable` when the connection ends first,
   * `timeout` after 5 s (the connection is then closed), `limit` when it cannot be sent.
   */
  request(payload: Request['payload'] & object, netns?: number): Promise<void> {
    const packet = toBinary(WorkloadRequestSchema, create(WorkloadRequestSchema, { payload }));
    if (packet.length > packetBytesMax) {
      return Promise.reject(new MeshError('limit', `a message of over ${packetBytesMax} bytes`));
    }
    if (this.#closed || this.#queue.length >= requestsMax) {
      return Promise.reject(new MeshError('unavailable', 'the node proxy takes no requests'));
    }
    return new Promise((resolve, reject) => {
      this.#queue.push({ packet, netns, resolve, reject });
      this.#sendNext();
    });
  }

  /** Ends the connection; what waits is rejected. */
  close(reason: string, code: 'unavailable' | 'timeout' = 'unavailable'): void {
    if (this.#closed) {
      return;
    }
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#packets.close();
    const error = new MeshError(code, `the node proxy's connection ended: ${reason}`);
    this.#inFlight?.reject(error);
    this.#inFlight = undefined;
    for (const waiting of this.#queue.splice(0)) {
      waiting.reject(error);
    }
    this.#events.onClose(reason);
  }

  #arm(what: string): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.close(`${what} in time`, 'timeout'), answerTimeoutMs);
  }

  #sendNext(): void {
    if (!this.#greeted || this.#inFlight !== undefined) {
      return;
    }
    const next = this.#queue.shift();
    if (next === undefined) {
      return;
    }
    this.#inFlight = next;
    this.#arm('no ack');
    try {
      this.#packets.send(next.packet, next.netns);
    } catch (error) {
      this.close(MeshError.from(error).message);
    }
  }

  #receive(data: Uint8Array, fds: readonly number[]): void {
    if (this.#closed) {
      return;
    }
    // No message of a proxy carries descriptors. The transport owns closing them on close.
    if (data.length > packetBytesMax || fds.length > 0) {
      this.close('a message that the protocol does not have');
      return;
    }
    try {
      if (this.#greeted) {
        this.#takeResponse(data);
      } else {
        this.#takeHello(data);
      }
    } catch (error) {
      this.close(MeshError.from(error).message);
    }
  }

  #takeHello(data: Uint8Array): void {
    const { version } = fromBinary(ZdsHelloSchema, data);
    if (version !== Version.V1) {
      this.close(`it speaks version ${version}, not ${Version.V1}`);
      return;
    }
    clearTimeout(this.#timer);
    this.#greeted = true;
    this.#events.onHello();
    this.#sendNext();
  }

  #takeResponse(data: Uint8Array): void {
    const { payload } = fromBinary(WorkloadResponseSchema, data);
    if (payload.case === 'meshConfig') {
      this.#events.onMeshConfig(meshConfigOf(payload.value));
      return;
    }
    const answered = this.#inFlight;
    if (payload.case !== 'ack' || answered === undefined) {
      this.close('an answer that nothing asked for');
      return;
    }
    clearTimeout(this.#timer);
    this.#inFlight = undefined;
    if (payload.value.error === '') {
      answered.resolve();
    } else {
      answered.reject(new MeshError('denied', payload.value.error));
    }
    this.#sendNext();
  }
}
