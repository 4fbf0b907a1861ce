// SPDX-License-Identifier: Apache-2.0
// What the mesh, a namespace or a pod may say of how pods are captured and connected: the control
// plane reads it, the node's agent does it.

/** The ways of capture. */
export const captureKinds = ['ebpf', 'nft'] as const;
export type CaptureKind = (typeof captureKinds)[number];

/** Connections between pods of one node: past the proxy where that can be, or in a tunnel. */
export const sameNodeWays = ['direct', 'tunnel'] as const;
export type SameNode = (typeof sameNodeWays)[number];

/** What direct connections leave out besides the proxy: nothing, or TCP. */
export const bypassWays = ['none', 'sockmap'] as const;
export type Bypass = (typeof bypassWays)[number];

/** The annotations of pods and namespaces, and what they may say. */
export const settingAnnotations: Readonly<Record<string, readonly string[]>> = {
  'weft.dev/capture': captureKinds,
  'weft.dev/same-node': sameNodeWays,
  'weft.dev/bypass': bypassWays,
};

/** What the mesh says for all pods that, like their namespaces, say nothing themselves. */
export interface MeshConfig {
  /** Of pods that are enrolled from then on; a node that cannot do it goes by its own way. */
  readonly capture?: CaptureKind | undefined;
  /** Of all pods, at once. */
  readonly sameNode?: SameNode | undefined;
}
