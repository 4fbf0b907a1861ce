// SPDX-License-Identifier: Apache-2.0
// What the main thread and the DNS thread tell each other.
import type { NameChange } from './names.ts';
import type { PodDnsCounts } from './pod-server.ts';

/** What the DNS thread starts with. */
export interface DnsThreadData {
  readonly clusterDomain: string;
  /** SO_MARK of the sockets. */
  readonly mark: number;
}

/** A pod whose queries are to be answered. */
export interface DnsPod {
  readonly uid: string;
  readonly namespace: string;
  /** An open descriptor of its network namespace; stays the main thread's. */
  readonly netns: number;
  /** Its own resolvers. */
  readonly nameservers: readonly string[];
}

/** Descriptors of sockets by kind and address, as in "udp 127.0.0.1". */
export type DnsSockets = ReadonlyMap<string, number>;

/** To the DNS thread. What carries a `ticket` is answered. */
export type DnsRequest =
  | { readonly kind: 'names'; readonly changes: readonly NameChange[] }
  | {
      readonly kind: 'add';
      readonly ticket: number;
      readonly pod: DnsPod;
      /** What another process answered with before. They become the thread's. */
      readonly inherited: DnsSockets;
    }
  | { readonly kind: 'remove'; readonly ticket: number; readonly uid: string }
  | { readonly kind: 'sockets'; readonly ticket: number; readonly uid: string }
  | { readonly kind: 'counts'; readonly ticket: number };

/** What became of a request. */
export interface DnsDone {
  readonly kind: 'done';
  readonly ticket: number;
  /** Empty when it worked. */
  readonly error: string;
  /** By pod; only when they were asked for. */
  readonly counts: ReadonlyMap<string, PodDnsCounts>;
  /** Duplicates that are the receiver's; only when they were asked for. */
  readonly sockets: DnsSockets;
}

/** From the DNS thread. */
export type DnsReply =
  | DnsDone
  | { readonly kind: 'trouble'; readonly uid: string; readonly reason: string };
