// SPDX-License-Identifier: Apache-2.0
// The typed face of the native engine. It and pod-socket.ts are the only files that load the addon.
import { createRequire } from 'node:module';
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { MeshError } from '../src/lib/error.ts';
import {
  type EngineSnapshot,
  EngineSnapshotSchema,
  type EventBatch,
  EventBatchSchema,
} from './gen/events_pb.js';
import { TablesDeltaSchema } from './gen/tables_pb.js';

export type {
  ConnectionEvent,
  ConnectionTotals,
  EngineSnapshot,
  EventBatch,
  TunnelState,
} from './gen/events_pb.js';
export { Direction, Kind, Reason } from './gen/events_pb.js';
export type { TablesDelta } from './gen/tables_pb.js';
export { PolicyAction, PolicyScope, Protocol, TablesDeltaSchema } from './gen/tables_pb.js';

/**
 * What one pod, peer or node may take. What is over a limit is refused and counted; nobody else
 * notices. "In one worker" holds for each worker apart.
 */
export interface EngineLimits {
  /**
   * Connections and tunnels of one pod, in all workers. Default 20,000. Peers at one address may
   * have half of them, in one worker.
   */
  readonly connectionsPerPod?: number;
  /** Connections that wait for the pod's certificate, each direction, in one worker. 1,024. */
  readonly heldPerPod?: number;
  /** Inbound TLS handshakes under way, in one worker. 2,048. */
  readonly handshakesPerPod?: number;
  /** The same of one source address. 256. */
  readonly handshakesPerSource?: number;
  /** Inbound tunnels of one source address to one pod, in one worker. 512. */
  readonly tunnelsPerSource?: number;
  /** Outbound tunnels of one pod to one peer, in one worker. 64. */
  readonly tunnelsPerPeer?: number;
  /** Of these, how many are opened because those that are there are congested. 4. */
  readonly busyTunnelsPerPeer?: number;
  /** Streams opened in one outbound tunnel. 100; 1 gives every connection a tunnel of its own. */
  readonly streamsPerTunnel?: number;
  /** Receive windows promised and bytes buffered, of one pod. 1 GiB; half for one address. */
  readonly bytesPerPod?: number;
  /** The same of all pods. 4 GiB. */
  readonly bytesPerNode?: number;
  /** Buffered in one plaintext connection, each direction. 64 KiB; at least 4 KiB. */
  readonly passthroughBytes?: number;
  /** Encoded events that wait to be taken; more are dropped and counted. 4 MiB. */
  readonly eventQueueBytes?: number;
  /** Certificates one worker remembers as verified. 4,096; with 0 each chain is verified anew. */
  readonly verifiedLeaves?: number;
  /** TLS sessions one pod keeps for resumption, in one worker. 1,024; with 0 none is resumed. */
  readonly resumableSessions?: number;
  /** Those of them towards one peer. 4. */
  readonly resumablePerPeer?: number;
}

/** Settings of one engine. All have defaults; sizes are bytes, times milliseconds. */
export interface EngineOptions {
  /** Worker threads, each with its own loop and sockets. Default: half of the cores, at least 1. */
  readonly workers?: number;
  /** Set on every socket the proxy opens in a pod, so that capture leaves it alone. */
  readonly mark?: number;
  /** Congestion control for sockets towards applications; empty leaves the system's default. */
  readonly appCongestion?: string;
  /** The same for tunnels. Both are "cubic" by default. */
  readonly tunnelCongestion?: string;
  readonly connectTimeoutMs?: number;
  /** For TLS, and then again for the peer's HTTP/2 SETTINGS. Default 10,000 each. */
  readonly handshakeTimeoutMs?: number;
  /** How long captured connections wait for the pod's certificate before they are refused. */
  readonly identityTimeoutMs?: number;
  /** Idle pooled tunnels are closed after this. With 0 one that falls idle is not used again. */
  readonly tunnelIdleMs?: number;
  /**
   * What becomes of connections to destinations that the control plane does not know: they pass
   * through in plaintext (allowAny, the default) or are refused (registryOnly).
   */
  readonly outboundPolicy?: 'allowAny' | 'registryOnly';
  /** A tunnel that is silent for so long is asked by PING. Default 10,000. */
  readonly pingAfterMs?: number;
  /** And ends when it is silent, or leaves bytes unacknowledged, for so long. Default 20,000. */
  readonly deadAfterMs?: number;
  /** An application's connection that moves no byte for so long is reset. Default 0: never. */
  readonly streamIdleMs?: number;
  /** The same for one that is half closed. Default 0: never. */
  readonly halfClosedIdleMs?: number;
  /** How TLS records are driven: in place (the default), or by the TLS library. */
  readonly tlsRow?: 'record' | 'library';
  /** Whose HTTP/2 framing: our own (the default), or nghttp2's. */
  readonly h2Row?: 'own' | 'nghttp2';
  readonly limits?: EngineLimits;
  /**
   * Makes the engine sum up: batches hold totals and the lines of the access log instead of each
   * connection by itself.
   */
  readonly accessLog?: {
    /** The process's name in each line. */
    readonly process: string;
    /** A line for each connection that opens, too. */
    readonly opened: boolean;
  };
}

/** Peers that are refused whatever their certificate says. */
export interface DenyList {
  /** SPIFFE IDs. */
  readonly identities: readonly string[];
  /** Serial numbers of leaf certificates, in hexadecimal. */
  readonly serials: readonly string[];
}

/** One X.509-SVID with key and bundle, as DER. */
export interface IdentityMaterial {
  readonly spiffeId: string;
  /** Leaf first, then intermediates, no root. */
  readonly chain: readonly Uint8Array[];
  /** PKCS#8. Wiped by the call that takes it. */
  readonly key: Uint8Array;
  /** Trust bundle of the identity's trust domain. */
  readonly roots: readonly Uint8Array[];
}

/** A pod whose traffic this engine carries. */
export interface PodSpec {
  readonly uid: string;
  /** Workload uid in the tables (WDS), by which policy and metadata are found. */
  readonly workloadUid: string;
  /** The SPIFFE ID its connections carry. Its material may come later, by setIdentity. */
  readonly spiffeId: string;
  /** An open descriptor of the pod's network namespace. The engine duplicates it. */
  readonly netns: number;
}

/** A connection to explain. */
export interface ExplainQuery {
  /** Uid of the workload that connects. */
  readonly source: string;
  /** IP address it connects to: of a service, a workload, or anything else. */
  readonly destination: string;
  readonly port: number;
}

/** How a connection travels: in a tunnel, in plaintext as the application sent it, or not at all. */
export type ExplainedPath = 'tunnel' | 'passthrough' | 'refused';

/** The answer of policy at the destination. */
export interface ExplainedVerdict {
  readonly allowed: boolean;
  /** Key of the policy that decides, "namespace/name"; empty when none does. */
  readonly policy: string;
  /** The place of the policy's rule that matches, from 0; -1 when none does. */
  readonly rule: number;
  readonly reason: string;
}

/** One place where the connection may end. */
export interface ExplainedEndpoint {
  readonly path: ExplainedPath;
  readonly why: string;
  /** The application, as address:port; absent when refused. */
  readonly target?: string;
  /** Uid; absent when the destination is not in the mesh. */
  readonly workload?: string;
  /** Where the tunnel goes, as address:port. */
  readonly tunnel?: string;
  /** SPIFFE IDs one of which the far end of the tunnel has to prove. */
  readonly expectedIdentities: readonly string[];
  /** Absent where no proxy stands at the destination that would ask policy. */
  readonly verdict?: ExplainedVerdict;
}

/** What would become of a connection, and why. */
export interface Explanation {
  /** Of the first endpoint. */
  readonly path: ExplainedPath;
  readonly why: string;
  /** False for a source that is not in the mesh: the proxy never sees its connections. */
  readonly captured: boolean;
  /** The SPIFFE ID that tunnels prove of the source; empty when no endpoint is reached by one. */
  readonly sourceIdentity: string;
  /** Key of the service, when it is addressed by an address of its own. */
  readonly service?: string;
  /** Those of which one is chosen by load: the nearest that are healthy, at most 100. */
  readonly endpoints: readonly ExplainedEndpoint[];
  readonly endpointsTotal: number;
}

interface NativeEngine {
  apply(delta: Uint8Array): void;
  setIdentity(material: IdentityMaterial): void;
  removeIdentity(spiffeId: string): void;
  setDenyList(identities: readonly string[], serials: readonly string[]): void;
  snapshot(done: (bytes: Uint8Array) => void): void;
  explain(source: string, destination: string, port: number): Explanation;
  addPod(pod: PodSpec, done: (error: string) => void): void;
  removePod(uid: string, done: () => void): void;
  counters(): ArrayBuffer;
  drain(deadlineMs: number, done: () => void): void;
  stop(): void;
}

interface NativeSeqpacket {
  send(data: Uint8Array, fd: number): void;
  close(): void;
  readonly pid: number;
  readonly uid: number;
}

interface Addon {
  versions(): Record<string, string>;
  counterNames(): string[];
  Engine: new (options: EngineOptions, onEvents: (batch: Uint8Array) => void) => NativeEngine;
  seqpacketListen(
    path: string,
    onConnection: (socket: NativeSeqpacket) => void,
    onMessage: (socket: NativeSeqpacket, data: Uint8Array, fds: number[]) => void,
    onClose: (socket: NativeSeqpacket, reason: string) => void,
  ): { close(): void };
  seqpacketConnect(
    path: string,
    onMessage: (data: Uint8Array, fds: number[]) => void,
    onClose: (reason: string) => void,
  ): NativeSeqpacket;
  openPath(path: string): number;
  closeFd(fd: number): void;
  peerUser(fd: number): number;
}

// Node-API 10 crashes an older Node at load instead of raising an error.
if (Number(process.versions['napi']) < 10) {
  throw new MeshError('unsupported', `Weft needs Node 26 or later, this is ${process.version}`);
}

const addon: Addon = createRequire(import.meta.url)('../build/Release/weft.node') as Addon;

function call<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw MeshError.from(error);
  }
}

/** Versions of what is linked in, and the file each was resolved from. */
export function nativeVersions(): Record<string, string> {
  return addon.versions();
}

/** The data plane of one process. Every method may be called from the main thread only. */
export class Engine {
  readonly #native: NativeEngine;
  readonly #counters: BigUint64Array;
  readonly #names: readonly string[];

  /** Starts the worker threads. `onEvents` gets coalesced batches, in order, on the main thread. */
  constructor(options: EngineOptions, onEvents: (batch: EventBatch) => void) {
    this.#native = call(
      () => new addon.Engine(options, (bytes) => onEvents(fromBinary(EventBatchSchema, bytes))),
    );
    this.#counters = new BigUint64Array(this.#native.counters());
    this.#names = addon.counterNames();
  }

  /** Applies a change whole or throws MeshError `invalid` and changes nothing. */
  apply(delta: MessageInitShape<typeof TablesDeltaSchema>): void {
    const bytes = toBinary(TablesDeltaSchema, create(TablesDeltaSchema, delta));
    call(() => this.#native.apply(bytes));
  }

  /** Adds or renews an identity. New connections use it at once; its key bytes are wiped. */
  setIdentity(material: IdentityMaterial): void {
    call(() => this.#native.setIdentity(material));
  }

  removeIdentity(spiffeId: string): void {
    this.#native.removeIdentity(spiffeId);
  }

  /** Replaces the deny list. Open tunnels with a peer that is on it are cut. */
  setDenyList({ identities, serials }: DenyList): void {
    call(() => this.#native.setDenyList(identities, serials));
  }

  /** The connections and tunnels that are open now, at most 10,000 of each worker. */
  snapshot(): Promise<EngineSnapshot> {
    return new Promise((resolve) => {
      call(() =>
        this.#native.snapshot((bytes) => resolve(fromBinary(EngineSnapshotSchema, bytes))),
      );
    });
  }

  /**
   * Says what would become of a connection, by the code that decides connections and by what the
   * tables know of both ends. What the workers learned by themselves (load, endpoints that failed)
   * has no part in it. Changes nothing; throws MeshError `invalid` when the source is not known.
   */
  explain({ source, destination, port }: ExplainQuery): Explanation {
    return call(() => this.#native.explain(source, destination, port));
  }

  /** Opens the pod's listeners in its namespace; resolves when all accept. */
  addPod(pod: PodSpec): Promise<void> {
    return new Promise((resolve, reject) => {
      call(() =>
        this.#native.addPod(pod, (error) =>
          error === '' ? resolve() : reject(new MeshError('unavailable', error)),
        ),
      );
    });
  }

  /** Closes the pod's listeners and connections at once. An unknown uid is no error. */
  removePod(uid: string): Promise<void> {
    return new Promise((resolve) => {
      this.#native.removePod(uid, resolve);
    });
  }

  /** All counters, summed over the workers. Reads shared memory; no thread is asked. */
  counters(): Record<string, bigint> {
    const sums: Record<string, bigint> = {};
    const width = this.#names.length;
    for (const [index, name] of this.#names.entries()) {
      let sum = 0n;
      for (let at = index; at < this.#counters.length; at += width) {
        sum += Atomics.load(this.#counters, at);
      }
      sums[name] = sum;
    }
    return sums;
  }

  /** Stops accepting, tells peers (GOAWAY), waits for streams to end, then cuts what is left. */
  drain(deadlineMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.#native.drain(deadlineMs, resolve);
    });
  }

  /** Ends the threads. The engine is spent. */
  stop(): void {
    this.#native.stop();
  }
}

/** One SOCK_SEQPACKET connection. A packet is a message; descriptors ride along. */
export interface Packets {
  /** Sends one packet, with one descriptor when `fd` is given (it stays the caller's). */
  send(data: Uint8Array, fd?: number): void;
  close(): void;
  /** The peer's process and user, by SO_PEERCRED. */
  readonly pid: number;
  readonly uid: number;
}

export interface PacketHandlers {
  /** `fds` are the receiver's to close. */
  onMessage(data: Uint8Array, fds: number[]): void;
  onClose(reason: string): void;
}

function packetsOf(socket: NativeSeqpacket): Packets {
  return {
    send: (data, fd = -1) => call(() => socket.send(data, fd)),
    close: () => socket.close(),
    pid: socket.pid,
    uid: socket.uid,
  };
}

/** Connects to a SEQPACKET listener; throws MeshError `unavailable` when nobody listens. */
export function connectPackets(path: string, handlers: PacketHandlers): Packets {
  return packetsOf(
    call(() =>
      addon.seqpacketConnect(
        path,
        (data, fds) => handlers.onMessage(data, fds),
        (reason) => handlers.onClose(reason),
      ),
    ),
  );
}

/**
 * Listens at `path` (mode 0600; a stale socket file is replaced). Peers of another user than root
 * and our own are dropped before `onConnection`. The handlers it returns serve that connection.
 */
export function listenPackets(
  path: string,
  onConnection: (socket: Packets) => PacketHandlers,
): { close(): void } {
  const open = new Map<NativeSeqpacket, PacketHandlers>();
  return call(() =>
    addon.seqpacketListen(
      path,
      (socket) => open.set(socket, onConnection(packetsOf(socket))),
      (socket, data, fds) => open.get(socket)?.onMessage(data, fds),
      (socket, reason) => {
        open.get(socket)?.onClose(reason);
        open.delete(socket);
      },
    ),
  );
}

/** Opens a file read-only and close-on-exec and returns its descriptor (for namespace files). */
export function openPath(path: string): number {
  return call(() => addon.openPath(path));
}

/**
 * The user who connected the UNIX socket `fd` (SO_PEERCRED). Throws MeshError when it is no such
 * socket.
 */
export function peerUser(fd: number): number {
  return call(() => addon.peerUser(fd));
}

export function closeFd(fd: number): void {
  addon.closeFd(fd);
}
