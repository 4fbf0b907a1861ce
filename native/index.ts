// SPDX-License-Identifier: Apache-2.0
// The typed face of the native engine. It and pod-socket.ts are the only files that load the addon.
import { createRequire } from 'node:module';
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { MeshError } from '../src/lib/error.ts';
import type { Addon, NativeEngine, NativeSeqpacket } from './addon.ts';
import type {
  CaptureStats,
  CryptoProbe,
  CryptoStats,
  DenyList,
  EngineOptions,
  IdentityMaterial,
  Listeners,
  PodSpec,
} from './engine-options.ts';
import type { ExplainQuery, Explanation } from './explanation.ts';
import {
  type EngineSnapshot,
  EngineSnapshotSchema,
  type EventBatch,
  EventBatchSchema,
} from './gen/events_pb.js';
import { TablesDeltaSchema } from './gen/tables_pb.js';

export type {
  CaptureStats,
  CryptoMode,
  CryptoModeInUse,
  CryptoOperation,
  CryptoProbe,
  CryptoStats,
  DenyList,
  EngineLimits,
  EngineOptions,
  IdentityMaterial,
  Listeners,
  PodSpec,
} from './engine-options.ts';
export type {
  ExplainedEndpoint,
  ExplainedPath,
  ExplainedVerdict,
  ExplainQuery,
  Explanation,
} from './explanation.ts';
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

/** What this processor can do for handshakes. Measures for some milliseconds when first asked. */
export function probeCrypto(): CryptoProbe {
  return call(() => addon.probeCrypto());
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

  /** Opens the pod's listeners in its namespace, or takes those given; resolves when it has them. */
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

  /** What capture in the kernel says of itself. */
  captureStats(): CaptureStats {
    return call(() => this.#native.captureStats());
  }

  /** What handshakes computed, and how. */
  cryptoStats(): CryptoStats {
    return call(() => this.#native.cryptoStats());
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

  /**
   * Duplicates of a pod's listening sockets, for the process that takes over; the caller closes
   * them. None for an unknown uid.
   */
  listeners(uid: string): Promise<Listeners> {
    return new Promise((resolve) => {
      call(() => this.#native.listeners(uid, resolve));
    });
  }

  /** The process before this one has let go: what was inherited from it is served. */
  takeOver(): void {
    call(() => this.#native.takeOver());
  }

  /** Leaves direct connections, and what the kernel says of them, to another process. */
  releaseDirect(): void {
    call(() => this.#native.releaseDirect());
  }

  /** The agent lets other pods than before have direct connections: those of others end. */
  directChanged(): void {
    call(() => this.#native.directChanged());
  }

  /**
   * Stops accepting, tells peers (GOAWAY), waits for streams to end, then cuts what is left.
   * Resolves with how many connections that were.
   */
  drain(deadlineMs: number): Promise<number> {
    return new Promise((resolve) => {
      this.#native.drain(deadlineMs, resolve);
    });
  }

  /** Ends the threads. The engine is spent. */
  stop(): void {
    this.#native.stop();
  }
}

/**
 * One SOCK_SEQPACKET connection. A packet is a message; descriptors ride along. One that is over
 * 4,096 bytes or four descriptors, or whose descriptors this process has no room for, ends it; so
 * do more than 64 that this thread had no time for.
 */
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

/**
 * Gives back pages of the program and its libraries that only the start needed, and what malloc keeps
 * for nothing; a few milliseconds. What is used again is mapped again from the page cache. Returns
 * the bytes of the mappings.
 */
export function releaseStartPages(): number {
  return addon.releaseStartPages();
}

/** Whether a descriptor is of a network namespace, and can be entered by it. */
export function isNetns(fd: number): boolean {
  return addon.isNetns(fd);
}

export function closeFd(fd: number): void {
  addon.closeFd(fd);
}
