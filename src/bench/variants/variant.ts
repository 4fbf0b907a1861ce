// SPDX-License-Identifier: Apache-2.0
// What a way from client to server is to the benchmark. Each stands in a file of its own beside
// this one; `all.ts` lists them.
import { join } from 'node:path';
import type { Lab } from '../../lab/lab.ts';

/** The pods of each variant, called VARIANT-END. */
export type End = 'client' | 'neighbour' | 'server' | 'sink';

/** Where each end lives: client and neighbour on one node, server and sink on the other. */
export const nodeOf: Readonly<Record<End, 'node-a' | 'node-b'>> = {
  client: 'node-a',
  neighbour: 'node-a',
  server: 'node-b',
  sink: 'node-b',
};

/** All ends. */
export const ends: readonly End[] = ['client', 'neighbour', 'server', 'sink'];

/** What a variant's processes are started with. */
export interface StartOptions {
  /** Settings of Weft's engine, as `weft ztunnel --engine` takes them. */
  readonly engine: readonly string[];
  /** Whether sidecars keep TLS sessions, as they do by default. */
  readonly sessions: boolean;
}

/** One way from a client to a server. */
export interface Variant {
  /** Small letters, digits and "-": the namespace of its pods and the head of their names. */
  readonly name: string;
  /** How it is set up, in a line. */
  readonly title: string;
  /** Whether its pods are in the mesh. */
  readonly meshed: boolean;
  /** What it can carry; TCP is everything. */
  readonly carries: 'tcp' | 'http';
  /** Which servers are reached otherwise than by the variant that it is a tier of; all, if not given. */
  readonly ways?: readonly End[];
  /** The variant that it is but for how pods are captured or connected; it has no studies of its own. */
  readonly tierOf?: string;
  /** What its proxies are set to beside what all are, as `weft ztunnel --engine` takes it. */
  readonly settings?: readonly string[];
  /** What its pods say of themselves. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** Where the server's end shows its certificate to who dials it; absent when nothing encrypts. */
  readonly tlsPort?: number;
  /**
   * Sees to it that it can run on this machine, installing what it brings itself. Answers why it
   * cannot, or nothing.
   */
  prepare(progress: (text: string) => void): Promise<string | undefined>;
  /** Starts its proxies in place of those that run; resolves when connections can flow. */
  start(lab: Lab, options: StartOptions): Promise<void>;
  /** The cgroup of the proxy that this end's connections go through; undefined without one. */
  proxyOf(lab: Lab, end: End): string | undefined;
}

/**
 * The variants by what runs at the same time: those of the mesh share the proxies of its nodes, so
 * each of their settings has a set of its own. In the order of the first of each.
 */
export function setsOf<V extends Pick<Variant, 'settings'>>(variants: readonly V[]): V[][] {
  return [...Map.groupBy(variants, ({ settings = [] }) => settings.join()).values()];
}

/** The name of a variant's pod. */
export function podOf({ name }: Pick<Variant, 'name'>, end: End): string {
  return `${name}-${end}`;
}

/** The cgroup of a process or pod of the lab. */
export function cgroupIn(lab: Lab, name: string): string {
  return join(lab.plan.names.cgroup, name);
}
