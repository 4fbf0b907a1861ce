// SPDX-License-Identifier: Apache-2.0
// Sockets in pods' network namespaces, for a thread that does without the engine: what the whole
// face (native/index.ts) brings along takes 17 MB in each thread.
import { createRequire } from 'node:module';
import { MeshError } from '../src/lib/error.ts';

interface Addon {
  podSocket(kind: string, netns: number, address: string, port: number, mark: number): number;
  bindAlone(fd: number, address: string, port: number): void;
  checkPodSocket(
    fd: number,
    netns: number,
    isListener: boolean,
    address: string,
    port: number,
  ): void;
  unshare(fd: number): void;
  duplicate(fd: number): number;
  sendFrames(netns: number, frames: readonly PodFrame[]): void;
}

const addon: Addon = createRequire(import.meta.url)('../build/Release/weft.node') as Addon;

/** What is made in a pod: UDP, bound or for `bindAlone`, listening TCP, or TCP that connects. */
export type PodSocketKind = 'udp' | 'unbound udp' | 'listen' | 'connect';

/**
 * Where a socket is made, and its own address or, with `connect`, the one it connects to. Of an
 * address that is yet to be bound only the family counts.
 */
export interface PodSocketSpec {
  /** An open descriptor of the pod's network namespace. */
  readonly netns: number;
  readonly address: string;
  /** 0 lets the kernel choose. */
  readonly port: number;
  /** SO_MARK, so that capture leaves the socket alone. */
  readonly mark: number;
}

/**
 * Makes a non-blocking socket in a pod's network namespace, on a thread of its own (about 0.1 ms),
 * and returns its descriptor, which is the caller's. One that connects may still be at it. Any
 * thread may call. Throws MeshError.
 */
export function podSocket(kind: PodSocketKind, spec: PodSocketSpec): number {
  const { netns, address, port, mark } = spec;
  try {
    return addon.podSocket(kind, netns, address, port, mark);
  } catch (error) {
    throw MeshError.from(error);
  }
}

/**
 * Binds an unbound UDP socket that a socket of Node's lives on already: libuv allows sharing when it
 * takes a descriptor, and here that is forbidden again before there is a port to share. Throws
 * MeshError, `conflict` when another socket has the port.
 */
export function bindAlone(fd: number, address: string, port: number): void {
  try {
    addon.bindAlone(fd, address, port);
  } catch (error) {
    throw MeshError.from(error);
  }
}

/**
 * Throws MeshError unless a socket that another process handed over is what it should be: UDP or a
 * TCP listener, at this address of this pod.
 */
export function checkPodSocket(
  fd: number,
  kind: 'udp' | 'listen',
  { netns, address, port }: Omit<PodSocketSpec, 'mark'>,
): void {
  try {
    addon.checkPodSocket(fd, netns, kind === 'listen', address, port);
  } catch (error) {
    throw MeshError.from(error);
  }
}

/** Forbids sharing the port of a bound UDP socket that a socket of Node's lives on already. */
export function unshare(fd: number): void {
  try {
    addon.unshare(fd);
  } catch (error) {
    throw MeshError.from(error);
  }
}

/** A duplicate of a descriptor, which is the caller's. Throws MeshError. */
export function duplicate(fd: number): number {
  try {
    return addon.duplicate(fd);
  } catch (error) {
    throw MeshError.from(error);
  }
}

/** An Ethernet frame, header and all, and the pod's device that it leaves by. */
export interface PodFrame {
  readonly device: string;
  readonly bytes: Uint8Array;
}

/**
 * Sends frames, in their order, from the pod whose network namespace is open at `netns`. Any thread
 * may call. Throws MeshError, and the rest is not sent.
 */
export function sendFrames(netns: number, frames: readonly PodFrame[]): void {
  try {
    addon.sendFrames(netns, frames);
  } catch (error) {
    throw MeshError.from(error);
  }
}
