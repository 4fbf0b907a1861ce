// SPDX-License-Identifier: Apache-2.0

import type { Bypass, CaptureKind, SameNode } from '../lib/pod-settings.ts';

/** What becomes of connections that pods open while the node's proxy is dead. */
export const whenProxyDownWays = ['refuse', 'pass'] as const;
export type WhenProxyDown = (typeof whenProxyDownWays)[number];

/** How a pod is to be treated, as it says itself or its namespace for it; the rest is left to others. */
export interface PodSettings {
  /** How it wants to be captured. */
  readonly capture?: CaptureKind | undefined;
  /** How it wants to be connected with other pods of the node. */
  readonly sameNode?: SameNode | undefined;
  /** What its direct connections leave out. */
  readonly bypass?: Bypass | undefined;
}

/** What a container runtime tells about a pod. */
export interface PodEnrolment extends PodSettings {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** A file of the pod's network namespace. */
  readonly netns: string;
  /** The addresses of its own resolvers, at most `nameserversMax`. */
  readonly nameservers: readonly string[];
  /** What its namespace says where it says nothing. */
  readonly ofNamespace?: PodSettings | undefined;
}

/** A pod on the list that outlives the agent. */
export interface ListedPod extends PodEnrolment {
  /** It is on its way out: what is left to do is to take its rules away. */
  readonly releasing?: true | undefined;
  /** How the mesh wanted pods to be captured when it was enrolled, which counts until it leaves. */
  readonly meshCapture?: CaptureKind | undefined;
  /** Its namespace's settings as they were before it was captured, by paths below /proc/sys/net. */
  readonly former?: Readonly<Record<string, string>> | undefined;
}

/** Most pods of one node. */
export const podsMax = 1024;
/** Most resolvers of one pod, as in the C library. */
export const nameserversMax = 3;

/** Whether both say the same of a pod, but for the file of its namespace and its settings. */
export function sameClaim(a: PodEnrolment, b: PodEnrolment): boolean {
  return (
    a.name === b.name &&
    a.namespace === b.namespace &&
    a.serviceAccount === b.serviceAccount &&
    a.nameservers.join() === b.nameservers.join()
  );
}
