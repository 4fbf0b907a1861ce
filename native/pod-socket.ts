// SPDX-License-Identifier: Apache-2.0
// Sockets in pods' network namespaces, for a thread that does without the engine: what the whole
// face (native/index.ts) brings along takes 17 MB in each thread.
import { createRequire } from 'node:module';
import { MeshError } from '../src/lib/error.ts';

interface Addon {
  podSocket(kind: string, netns: number, address: string, port: number, mark: number): number;
  keepPort(fd: number): void;
}

const addon: Addon = createRequire(import.meta.url)('../build/Release/weft.node') as Addon;

/** What kind of socket is made in a pod: bound UDP, listening TCP, or TCP that connects. */
export type PodSocketKind = 'udp' | 'listen' | 'connect';

/** Where a socket is made, and its own address or, with `connect`, the one it connects to. */
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
 * Makes the port of a bound UDP socket its own again, once a socket of Node's lives on `fd`: libuv
 * lets everybody in the pod share it. Throws MeshError.
 */
export function keepPort(fd: number): void {
  try {
    addon.keepPort(fd);
  } catch (error) {
    throw MeshError.from(error);
  }
}
