// SPDX-License-Identifier: Apache-2.0

/** The ways of capture. */
export const captureKinds = ['ebpf', 'nft'] as const;
export type CaptureKind = (typeof captureKinds)[number];

/** Connections between pods of one node: past the proxy where that can be, or in a tunnel. */
export const sameNodeWays = ['direct', 'tunnel'] as const;
export type SameNode = (typeof sameNodeWays)[number];

/** What becomes of connections that pods open while the node's proxy is dead. */
export const whenProxyDownWays = ['refuse', 'pass'] as const;
export type WhenProxyDown = (typeof whenProxyDownWays)[number];

/** What direct connections leave out besides the proxy: nothing, or TCP. */
export const bypassWays = ['none', 'sockmap'] as const;
export type Bypass = (typeof bypassWays)[number];

/** What a container runtime tells about a pod. */
export interface PodEnrolment {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** A file of the pod's network namespace. */
  readonly netns: string;
  /** The addresses of its own resolvers, at most `nameserversMax`. */
  readonly nameservers: readonly string[];
  /** How it wants to be captured; the node's way if it does not say. */
  readonly capture?: CaptureKind | undefined;
  /** How it wants to be connected with other pods of the node; the node's way if it does not say. */
  readonly sameNode?: SameNode | undefined;
  /** What its direct connections leave out; the node's way if it does not say. */
  readonly bypass?: Bypass | undefined;
}

/** A pod on the list that outlives the agent. */
export interface ListedPod extends PodEnrolment {
  /** It is on its way out: what is left to do is to take its rules away. */
  readonly releasing?: true | undefined;
}

/** Most pods of one node. */
export const podsMax = 1024;
/** Most resolvers of one pod, as in the C library. */
export const nameserversMax = 3;

/** Whether both say the same of a pod, but for the file of its namespace. */
export function sameClaim(a: PodEnrolment, b: PodEnrolment): boolean {
  return (
    a.name === b.name &&
    a.namespace === b.namespace &&
    a.serviceAccount === b.serviceAccount &&
    a.capture === b.capture &&
    a.sameNode === b.sameNode &&
    a.bypass === b.bypass &&
    a.nameservers.join() === b.nameservers.join()
  );
}
