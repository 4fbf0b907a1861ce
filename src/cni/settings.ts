// SPDX-License-Identifier: Apache-2.0
// Which setting counts for a pod: its own goes before its namespace's, that before the mesh's, and that
// before the node's. Without I/O.
import type { Bypass, CaptureKind, MeshConfig, SameNode } from '../lib/pod-settings.ts';
import type { CaptureWants } from './capture.ts';
import type { PodEnrolment, PodSettings } from './pod.ts';

/** Who may say something, the nearest first. */
export type SettingSource = 'pod' | 'namespace' | 'mesh' | 'node';

/** A setting that counts, and who said it. */
export interface Setting<T> {
  readonly value: T;
  readonly from: SettingSource;
}

/** All that count for one pod. */
export interface SettingsInForce {
  readonly capture: Setting<CaptureKind>;
  readonly sameNode: Setting<SameNode>;
  readonly bypass: Setting<Bypass>;
}

/** What counts on a node, for those who show it. */
export interface SettingsReport {
  readonly mesh: MeshConfig;
  readonly node: NodeSettings;
  readonly pods: readonly (SettingsInForce & {
    readonly uid: string;
    readonly namespace: string;
    readonly name: string;
  })[];
}

/** What a node does for pods that say nothing, and what it can do. */
export interface NodeSettings {
  readonly capture: CaptureKind;
  /** Whether it can capture in the kernel. */
  readonly hasEbpf: boolean;
  /** `tunnel` is for all pods, whatever they say: so a node without a guard is. */
  readonly sameNode: SameNode;
  readonly bypass: Bypass;
}

function nearest<T>(own: T | undefined, space: T | undefined): Setting<T> | undefined {
  if (own !== undefined) {
    return { value: own, from: 'pod' };
  }
  return space === undefined ? undefined : { value: space, from: 'namespace' };
}

/**
 * What to ask of capture for a pod. `meshCapture` is what the mesh wanted when the pod was enrolled:
 * a change of that waits for the next enrolment.
 */
export function wantsOf(
  { capture, sameNode, bypass, ofNamespace }: PodEnrolment,
  mesh: MeshConfig,
  meshCapture: CaptureKind | undefined,
): CaptureWants {
  return {
    capture: capture ?? ofNamespace?.capture,
    preferred: meshCapture,
    sameNode: sameNode ?? ofNamespace?.sameNode ?? mesh.sameNode,
    bypass: bypass ?? ofNamespace?.bypass,
  };
}

/** Whether both ask for the same. */
export function sameWants(a: CaptureWants, b: CaptureWants): boolean {
  return (
    a.capture === b.capture &&
    a.preferred === b.preferred &&
    a.sameNode === b.sameNode &&
    a.bypass === b.bypass
  );
}

/** What counts for a pod that was enrolled when the mesh wanted `meshCapture`. */
export function settingsOf(
  pod: PodSettings & Pick<PodEnrolment, 'ofNamespace'>,
  mesh: MeshConfig,
  meshCapture: CaptureKind | undefined,
  node: NodeSettings,
): SettingsInForce {
  const { ofNamespace } = pod;
  const isPreferred = meshCapture === 'nft' || (meshCapture === 'ebpf' && node.hasEbpf);
  const capture: Setting<CaptureKind> =
    nearest(pod.capture, ofNamespace?.capture) ??
    (isPreferred ? { value: meshCapture, from: 'mesh' } : { value: node.capture, from: 'node' });
  const bypass = nearest(pod.bypass, ofNamespace?.bypass) ?? { value: node.bypass, from: 'node' };
  return { capture, sameNode: sameNodeOf(pod, mesh, node, capture), bypass };
}

function sameNodeOf(
  { sameNode, ofNamespace }: PodSettings & Pick<PodEnrolment, 'ofNamespace'>,
  mesh: MeshConfig,
  node: NodeSettings,
  capture: Setting<CaptureKind>,
): Setting<SameNode> {
  if (node.sameNode === 'tunnel') {
    return { value: 'tunnel', from: 'node' };
  }
  if (capture.value === 'nft') {
    return { value: 'tunnel', from: capture.from };
  }
  const said = nearest(sameNode, ofNamespace?.sameNode);
  const usual: Setting<SameNode> =
    mesh.sameNode === undefined
      ? { value: node.sameNode, from: 'node' }
      : { value: mesh.sameNode, from: 'mesh' };
  return said ?? usual;
}
