// SPDX-License-Identifier: Apache-2.0
// The shape of build/Release/weft.node, which native/index.ts loads. What it throws is turned into
// MeshError there.
import type {
  CaptureStats,
  CryptoProbe,
  CryptoStats,
  EngineOptions,
  IdentityMaterial,
  Listeners,
  PodSpec,
} from './engine-options.ts';
import type { Explanation } from './explanation.ts';

/** One engine, as the addon gives it: bytes of protobuf messages in and out. */
export interface NativeEngine {
  apply(delta: Uint8Array): void;
  setIdentity(material: IdentityMaterial): void;
  removeIdentity(spiffeId: string): void;
  setDenyList(identities: readonly string[], serials: readonly string[]): void;
  snapshot(done: (bytes: Uint8Array) => void): void;
  explain(source: string, destination: string, port: number): Explanation;
  addPod(pod: PodSpec, done: (error: string) => void): void;
  removePod(uid: string, done: () => void): void;
  captureStats(): CaptureStats;
  cryptoStats(): CryptoStats;
  counters(): ArrayBuffer;
  listeners(uid: string, done: (listeners: Listeners) => void): void;
  takeOver(): void;
  releaseDirect(): void;
  directChanged(): void;
  drain(deadlineMs: number, done: (cut: number) => void): void;
  stop(): void;
}

/** One SOCK_SEQPACKET connection. `fd` is -1 for a packet without a descriptor. */
export interface NativeSeqpacket {
  send(data: Uint8Array, fd: number): void;
  close(): void;
  readonly pid: number;
  readonly uid: number;
}

/** All that the addon exports but pod sockets, which native/pod-socket.ts wraps. */
export interface Addon {
  versions(): Record<string, string>;
  counterNames(): string[];
  probeCrypto(): CryptoProbe;
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
  releaseStartPages(): number;
  isNetns(fd: number): boolean;
  peerUser(fd: number): number;
}
