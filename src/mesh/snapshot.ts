// SPDX-License-Identifier: Apache-2.0
// The mesh as its proxies see it: registry objects in, workloads, services and policies out.
import type { Policy } from './objects.ts';
import type { MeshService } from './services.ts';
import type { Workload } from './workloads.ts';

/** Settings of the mesh that shape what its proxies see. */
export interface MeshSettings {
  readonly trustDomain: string;
  /** The last labels of service hostnames. */
  readonly clusterDomain: string;
  readonly clusterId: string;
  /** Policies of this namespace apply to the whole mesh. */
  readonly rootNamespace: string;
}

/** The settings that Kubernetes and Istio start with. */
export const meshDefaults: MeshSettings = {
  trustDomain: 'cluster.local',
  clusterDomain: 'cluster.local',
  clusterId: 'Kubernetes',
  rootNamespace: 'istio-system',
};

/** Which workloads a policy reaches: all, those of its namespace, or those that name it. */
export type PolicyScope = 'global' | 'namespace' | 'selector';

/** A policy with its reach. */
export interface ScopedPolicy {
  readonly key: string;
  readonly scope: PolicyScope;
  readonly policy: Policy;
}

/** One state of the mesh. */
export interface Snapshot {
  /** By uid. */
  readonly workloads: ReadonlyMap<string, Workload>;
  readonly services: ReadonlyMap<string, MeshService>;
  readonly policies: ReadonlyMap<string, ScopedPolicy>;
  /** Whether the mesh carries a pod of this service account on this node. Unknown names: false. */
  places(node: string, namespace: string, serviceAccount: string): boolean;
}

/** What changed of a snapshot: by key what is there now, or undefined for what is gone. */
export interface SnapshotChange {
  readonly workloads: ReadonlyMap<string, Workload | undefined>;
  readonly services: ReadonlyMap<string, MeshService | undefined>;
  readonly policies: ReadonlyMap<string, ScopedPolicy | undefined>;
}
