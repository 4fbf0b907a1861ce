// SPDX-License-Identifier: Apache-2.0
// Capture in the kernel, for the node agent: it does without the engine's face, and loads the addon by itself.
import { createRequire } from 'node:module';
import { MeshError } from '../src/lib/error.ts';

/** What capture of one node depends on: folders. */
export interface NodeCaptureOptions {
  /**
   * Where programs and tables are pinned, so that they outlive the process: in a BPF file system, or
   * one is mounted there.
   */
  readonly pins: string;
  /** The cgroup v2 that all processes of pods are below. */
  readonly cgroup: string;
  /** That of the node proxy, whose processes are never captured. */
  readonly proxyCgroup: string;
  /** Connections of these processes to pods pass; those of nobody's if not given. */
  readonly probeCgroup?: string | undefined;
  /**
   * Whether what pods open is refused or goes out uncaptured, in plaintext, while the proxy is dead;
   * what comes to them is refused in any case. `refuse` if not given.
   */
  readonly whenProxyDown?: 'refuse' | 'pass' | undefined;
  /** What is not even tried. */
  readonly without?: readonly CapturePart[] | undefined;
}

/**
 * What capture can do without: direct connections, services whose endpoints are picked for these,
 * DNS, and the own address that applications are told.
 */
export const captureParts = ['direct', 'services', 'dns', 'own_name'] as const;
export type CapturePart = (typeof captureParts)[number];

/** What became of a part on this kernel. */
export interface LoadedPart {
  readonly name: CapturePart;
  readonly works: boolean;
  /** Why not, with the last lines that the verifier said; empty when it works. */
  readonly reason: string;
}

interface NativeNodeCapture {
  configure(options: NodeCaptureOptions): void;
  enrol(netns: number, addresses: readonly string[], direct: boolean, sockmap: boolean): void;
  refuseSockmap(gates: number): void;
  addresses(netns: number): string[];
  release(netns: number): void;
  parts(): LoadedPart[];
  counters(): Record<string, number>;
}

/** What one gate of the sockmap tier says of this kernel. */
export interface SockmapGate {
  readonly name: string;
  readonly ok: boolean;
  /** Why it fails, in a sentence; empty when it does not. */
  readonly reason: string;
  /** Its place among all gates, as a power of two. */
  readonly bit: number;
}

interface NativeSockmapTier {
  promote(netns: number): void;
}

interface Addon {
  trySockmapGates(): SockmapGate[];
  SockmapTier: new (pins: string, cgroup: string) => NativeSockmapTier;
  NodeCapture: {
    new (options: NodeCaptureOptions): NativeNodeCapture;
    uninstall(pins: string): void;
  };
}

const addon: Addon = createRequire(import.meta.url)('../build/Release/weft.node') as Addon;

function call<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw MeshError.from(error);
  }
}

/** Capture of this node's pods in the kernel. What it does outlives it. Main thread only. */
export class NodeCapture {
  readonly #native: NativeNodeCapture;

  /**
   * Loads and attaches the programs, in the place of those that are pinned already; tables and
   * connections stay. A part that this kernel refuses is lost by itself, and what was attached of it
   * ends. Throws MeshError with the kernel's reason, and then nothing has changed.
   */
  constructor(options: NodeCaptureOptions) {
    this.#native = call(() => new addon.NodeCapture(options));
  }

  /** Takes every trace of a node's capture out of the kernel, whoever made it. */
  static uninstall(pins: string): void {
    call(() => addon.NodeCapture.uninstall(pins));
  }

  /** Takes the cgroups of `options`; a proxy may have another one than before. */
  configure(options: NodeCaptureOptions): void {
    call(() => this.#native.configure(options));
  }

  /**
   * Captures the pod with this open network namespace. With `direct` it may have connections without
   * the proxy: only for a pod from whose addresses nobody else can send. With `sockmap` as well,
   * those may go past TCP: only where a `SockmapTier` is. Idempotent: its addresses are those of the
   * first call. Throws MeshError `conflict` when another pod has one of them.
   */
  enrol(netns: number, addresses: readonly string[], direct: boolean, sockmap = false): void {
    call(() => this.#native.enrol(netns, addresses, direct, sockmap));
  }

  /** Lets the proxy know that a pod asked for the sockmap tier, and which gates refuse it. */
  refuseSockmap(gates: readonly SockmapGate[]): void {
    const bits = gates.reduce((sum, { bit }) => sum | bit, 0);
    call(() => this.#native.refuseSockmap(bits));
  }

  /** The addresses that a captured pod has. */
  addresses(netns: number): string[] {
    return call(() => this.#native.addresses(netns));
  }

  /** Takes it away again. A pod that is not captured is no error. */
  release(netns: number): void {
    call(() => this.#native.release(netns));
  }

  /** All that capture can do without, and what became of it. */
  parts(): LoadedPart[] {
    return call(() => this.#native.parts());
  }

  /** How often programs ended in which way, by name. */
  counters(): Record<string, number> {
    return this.#native.counters();
  }
}

/**
 * Tries on this kernel, with real sockets, what applications rely on and sockmaps may break: all
 * gates of the sockmap tier. The caller waits for some hundred milliseconds. Needs root.
 */
export function trySockmapGates(): SockmapGate[] {
  return call(() => addon.trySockmapGates());
}

/**
 * Data of direct connections past TCP, for pods that were enrolled with `sockmap`. It does not ask
 * the gates. What it does outlives it.
 */
export class SockmapTier {
  readonly #native: NativeSockmapTier;

  /** Beside a `NodeCapture` of the same options. Throws MeshError with the kernel's reason. */
  constructor({ pins, cgroup }: Pick<NodeCaptureOptions, 'pins' | 'cgroup'>) {
    this.#native = call(() => new addon.SockmapTier(pins, cgroup));
  }

  /** Takes in those connections of a pod that may be; for others nothing changes. */
  promote(netns: number): void {
    call(() => this.#native.promote(netns));
  }
}
