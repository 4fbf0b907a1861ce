// SPDX-License-Identifier: Apache-2.0
// A CNI agent for tests of the node proxy, on real SEQPACKET sockets: it sends what the test says
// and reads the acks.
import { EventEmitter, once } from 'node:events';
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { listenPackets, type Packets } from '../../native/index.ts';
import {
  WorkloadRequestSchema,
  WorkloadResponseSchema,
  ZdsHelloSchema,
} from '../../src/lib/gen/zds_pb.js';

/** Listens at a path for one proxy at a time. */
export class FakeAgent {
  readonly #events = new EventEmitter();
  readonly #listener: { close(): void };
  #packets: Packets | undefined;
  #greeted = false;

  constructor(path: string) {
    this.#listener = listenPackets(path, (socket) => {
      this.#packets = socket;
      this.#greeted = false;
      return {
        onMessage: (data) => this.#receive(data),
        onClose: () => undefined,
      };
    });
  }

  /** Resolves when a proxy has greeted; with the version it speaks. */
  async greeting(): Promise<number> {
    const [version] = await once(this.#events, 'hello');
    return version as number;
  }

  /** Sends one request and returns the error of its ack; empty for success. */
  async ask(
    payload: MessageInitShape<typeof WorkloadRequestSchema>['payload'],
    fd?: number,
  ): Promise<string> {
    const answer = once(this.#events, 'ack');
    const init = { payload } as MessageInitShape<typeof WorkloadRequestSchema>;
    const bytes = toBinary(WorkloadRequestSchema, create(WorkloadRequestSchema, init));
    this.#packets?.send(bytes, fd);
    const [error] = await answer;
    return error as string;
  }

  close(): void {
    this.#packets?.close();
    this.#listener.close();
  }

  #receive(data: Uint8Array): void {
    if (!this.#greeted) {
      this.#greeted = true;
      this.#events.emit('hello', fromBinary(ZdsHelloSchema, data).version);
      return;
    }
    const { payload } = fromBinary(WorkloadResponseSchema, data);
    if (payload.case === 'ack') {
      this.#events.emit('ack', payload.value.error);
    }
  }
}
