// SPDX-License-Identifier: Apache-2.0
// A node proxy for tests of the CNI agent, on real SEQPACKET sockets: it greets and answers as the
// test says.
import { fstatSync } from 'node:fs';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { closeFd, connectPackets, type Packets } from '../../native/index.ts';
import {
  WorkloadRequestSchema,
  WorkloadResponseSchema,
  ZdsHelloSchema,
} from '../../src/lib/gen/zds_pb.js';

/** One request as the proxy got it: "add uid ns/name account inode", "del uid", "snapshot". */
export type Heard = string;

/** How a fake proxy behaves. */
export interface FakeProxyOptions {
  /** The version it greets with; none: it says nothing. */
  readonly version?: 0 | 1;
  /** The error of the ack for a request; undefined: no ack at all. Default: "" for all. */
  readonly answer?: (heard: Heard) => string | undefined;
}

/** Connects to an agent's socket. */
export class FakeProxy {
  /** Everything it was asked, in order. */
  readonly heard: Heard[] = [];
  readonly #packets: Packets;
  readonly #options: FakeProxyOptions;
  readonly #waiting: (() => void)[] = [];
  #closed = false;

  constructor(path: string, options: FakeProxyOptions = {}) {
    this.#options = options;
    this.#packets = connectPackets(path, {
      onMessage: (data, fds) => this.#receive(data, fds),
      onClose: () => {
        this.#closed = true;
        this.#wake();
      },
    });
    if (options.version !== undefined) {
      this.sendRaw(toBinary(ZdsHelloSchema, create(ZdsHelloSchema, { version: options.version })));
    }
  }

  /** Whether the agent ended the connection. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Resolves when `condition` holds, looked at after each message and at the end. */
  async until(condition: (proxy: FakeProxy) => boolean): Promise<void> {
    while (!condition(this)) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  sendRaw(bytes: Uint8Array): void {
    this.#packets.send(bytes);
  }

  /** Sends an ack that nobody may have asked for. */
  sendAck(error: string): void {
    const payload = { case: 'ack', value: { error } } as const;
    this.sendRaw(toBinary(WorkloadResponseSchema, create(WorkloadResponseSchema, { payload })));
  }

  close(): void {
    this.#packets.close();
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) {
      resolve();
    }
  }

  #receive(data: Uint8Array, fds: number[]): void {
    const { payload } = fromBinary(WorkloadRequestSchema, data);
    const inodes = fds.map((fd) => fstatSync(fd).ino);
    fds.forEach(closeFd);
    let heard = 'snapshot';
    if (payload.case === 'add') {
      const { uid, workloadInfo: info } = payload.value;
      heard = `add ${uid} ${info?.namespace}/${info?.name} ${info?.serviceAccount} ${inodes.join()}`;
    } else if (payload.case === 'del') {
      heard = `del ${payload.value.uid}`;
    }
    this.heard.push(heard);
    const error = this.#options.answer === undefined ? '' : this.#options.answer(heard);
    if (error !== undefined) {
      this.sendAck(error);
    }
    this.#wake();
  }
}
