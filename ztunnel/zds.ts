// SPDX-License-Identifier: Apache-2.0
// The node-local protocol with the CNI agent (Istio's ZDS): one message a packet, each answered by
// one ack, strictly in order.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import type { PacketHandlers, Packets } from '../native/index.ts';
import { Backoff } from '../src/lib/backoff.ts';
import { MeshError, type Result } from '../src/lib/error.ts';
import {
  Version,
  WorkloadRequestSchema,
  WorkloadResponseSchema,
  ZdsHelloSchema,
} from '../src/lib/gen/zds_pb.js';
import { formatIp } from '../src/lib/ip.ts';
import type { Logger } from '../src/lib/log.ts';
import type { MeshConfig } from '../src/lib/pod-settings.ts';
import type { PodClaim } from './apply.ts';
import { usableNameservers } from './dns/resolv-conf.ts';
import { check, checkAddress, checkName } from './field-checks.ts';

/** Longest packet of the protocol, in bytes. */
export const packetBytesMax = 1024;
/** Most messages that wait for their turn; an agent sends the next one after the ack. */
export const waitingPacketsMax = 16;
/** Longest error sentence in an ack, in characters, so that the ack fits its packet. */
export const ackCharactersMax = 256;

/** What the agent asks. */
export type ZdsRequest =
  | {
      readonly kind: 'add';
      readonly uid: string;
      readonly claim: PodClaim;
      /** The addresses of the pod's own resolvers; none when the agent does not know them. */
      readonly nameservers: readonly string[];
    }
  | { readonly kind: 'keep' | 'del'; readonly uid: string }
  | {
      readonly kind: 'snapshot sent';
      /** The agent wants to hear what counts for the whole mesh. */
      readonly takesMeshConfig: boolean;
    };

/** What is done with the agent's requests. */
export interface ZdsHandler {
  /** A new agent connection: its snapshot begins. */
  onConnect(): void;
  onDisconnect(): void;
  /**
   * Carries out one request; rejecting answers it with an error. `netns` comes with `add` only
   * and is the handler's to close.
   */
  onRequest(request: ZdsRequest, netns: number): Promise<void>;
}

/** What the connection needs from outside. */
export interface ZdsTransport {
  connect(path: string, handlers: PacketHandlers): Packets;
  closeFd(fd: number): void;
}

/** Parses one packet of the agent. */
export function parseZdsRequest(packet: Uint8Array): Result<ZdsRequest> {
  try {
    check(packet.length <= packetBytesMax, `a packet of over ${packetBytesMax} bytes`);
    const { payload } = fromBinary(WorkloadRequestSchema, packet);
    if (payload.case === 'snapshotSent') {
      const { takesMeshConfig } = payload.value;
      return { ok: true, value: { kind: 'snapshot sent', takesMeshConfig } };
    }
    if (payload.case === undefined) {
      throw new MeshError('invalid', 'a request of no kind this version knows');
    }
    const { uid } = payload.value;
    checkName(uid, 'uid');
    if (payload.case !== 'add') {
      return { ok: true, value: { kind: payload.case, uid } };
    }
    const { nameservers: addresses, workloadInfo: info } = payload.value;
    if (info === undefined) {
      throw new MeshError('invalid', 'an add without workload_info');
    }
    const { name, namespace, serviceAccount } = info;
    checkName(name, 'workload name');
    checkName(namespace, 'workload namespace');
    const claim = { name, namespace, serviceAccount: serviceAccount || 'default' };
    addresses.forEach(checkAddress);
    const nameservers = usableNameservers(addresses.map(formatIp));
    return { ok: true, value: { kind: 'add', uid, claim, nameservers } };
  } catch (error) {
    return { ok: false, error: new MeshError('invalid', MeshError.from(error).message) };
  }
}

/** The first packet, from the proxy. */
export function encodeHello(): Uint8Array {
  return toBinary(ZdsHelloSchema, create(ZdsHelloSchema, { version: Version.V1 }));
}

/** The answer to one request; an empty `error` is success. */
export function encodeAck(error: string): Uint8Array {
  const ack = { error: error.slice(0, ackCharactersMax) };
  return toBinary(
    WorkloadResponseSchema,
    create(WorkloadResponseSchema, { payload: { case: 'ack', value: ack } }),
  );
}

/** What counts for the whole mesh, for an agent that takes it; no answer to anything. */
export function encodeMeshConfig({ capture, sameNode }: MeshConfig): Uint8Array {
  const value = { capture: capture ?? '', sameNode: sameNode ?? '' };
  return toBinary(
    WorkloadResponseSchema,
    create(WorkloadResponseSchema, { payload: { case: 'meshConfig', value } }),
  );
}

/** Keeps one connection to the agent, reconnecting for ever with backoff (10 ms to 15 s). */
export class ZdsClient {
  readonly #path: string;
  readonly #transport: ZdsTransport;
  readonly #handler: ZdsHandler;
  readonly #log: Logger;
  readonly #backoff = new Backoff({ firstMs: 10, maxMs: 15_000, jitter: 0.2 });
  #packets: Packets | undefined;
  #generation = 0;
  #waiting = 0;
  #tail: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  // Undefined until it is known.
  #meshConfig: MeshConfig | undefined;
  #takesMeshConfig = false;

  constructor(path: string, transport: ZdsTransport, handler: ZdsHandler, log: Logger) {
    this.#path = path;
    this.#transport = transport;
    this.#handler = handler;
    this.#log = log;
  }

  /** Connects, and from then on reconnects by itself. */
  start(): void {
    this.#generation += 1;
    const generation = this.#generation;
    try {
      const packets = this.#transport.connect(this.#path, {
        onMessage: (data, fds) => this.#receive(generation, data, fds),
        onClose: (reason) => this.#lost(generation, reason),
      });
      this.#packets = packets;
      // Who may name pods may name identities: the agent has to be root.
      check(packets.uid === 0, `the agent runs as user ${packets.uid}, not as root`);
      this.#handler.onConnect();
      packets.send(encodeHello());
    } catch (error) {
      this.#lost(generation, MeshError.from(error).message);
    }
  }

  /** Tells the agent what counts for the whole mesh, at once and at each connection. */
  setMeshConfig(config: MeshConfig): void {
    this.#meshConfig = config;
    try {
      this.#tellMeshConfig();
    } catch (failure) {
      this.#lost(this.#generation, MeshError.from(failure).message);
    }
  }

  #tellMeshConfig(): void {
    if (this.#takesMeshConfig && this.#meshConfig !== undefined) {
      this.#packets?.send(encodeMeshConfig(this.#meshConfig));
    }
  }

  /** Ends the connection for good. */
  close(): void {
    this.#closed = true;
    this.#generation += 1;
    clearTimeout(this.#timer);
    this.#packets?.close();
    this.#packets = undefined;
  }

  #lost(generation: number, reason: string): void {
    if (generation !== this.#generation || this.#closed) {
      return;
    }
    this.#generation += 1;
    this.#takesMeshConfig = false;
    const packets = this.#packets;
    this.#packets = undefined;
    packets?.close();
    this.#handler.onDisconnect();
    const waitMs = Math.round(this.#backoff.next());
    this.#log.warn({ waitMs, reason }, 'no connection to the CNI agent');
    this.#timer = setTimeout(() => this.start(), waitMs);
  }

  #receive(generation: number, data: Uint8Array, fds: readonly number[]): void {
    if (generation !== this.#generation || this.#waiting >= waitingPacketsMax) {
      this.#closeAll(fds);
      this.#lost(generation, `over ${waitingPacketsMax} unanswered messages`);
      return;
    }
    this.#waiting += 1;
    this.#tail = this.#tail
      .then(() => this.#answer(generation, data, fds))
      .finally(() => {
        this.#waiting -= 1;
      });
  }

  async #answer(generation: number, data: Uint8Array, fds: readonly number[]): Promise<void> {
    if (generation !== this.#generation) {
      this.#closeAll(fds);
      return;
    }
    const parsed = parseZdsRequest(data);
    const error = await this.#carryOut(parsed, fds);
    if (error !== '') {
      this.#log.warn({ reason: error }, 'a request of the CNI agent was refused');
    }
    if (generation !== this.#generation) {
      return;
    }
    try {
      if (parsed.ok && parsed.value.kind === 'snapshot sent') {
        // Before the ack: who waits for that knows the mesh's settings.
        this.#takesMeshConfig = parsed.value.takesMeshConfig;
        this.#tellMeshConfig();
      }
      this.#packets?.send(encodeAck(error));
      this.#backoff.reset();
    } catch (failure) {
      this.#lost(generation, MeshError.from(failure).message);
    }
  }

  async #carryOut(parsed: Result<ZdsRequest>, fds: readonly number[]): Promise<string> {
    if (!parsed.ok) {
      this.#closeAll(fds);
      return parsed.error.message;
    }
    const isAdd = parsed.value.kind === 'add';
    const [netns = -1] = fds;
    if (fds.length !== (isAdd ? 1 : 0)) {
      this.#closeAll(fds);
      return `${parsed.value.kind} came with ${fds.length} descriptors`;
    }
    try {
      await this.#handler.onRequest(parsed.value, netns);
      return '';
    } catch (error) {
      // An empty sentence would be read as success.
      return MeshError.from(error).message || 'failed';
    }
  }

  #closeAll(fds: readonly number[]): void {
    for (const fd of fds) {
      this.#transport.closeFd(fd);
    }
  }
}
