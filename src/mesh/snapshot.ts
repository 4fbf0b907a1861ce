// SPDX-License-Identifier: Apache-2.0
// The mesh as its proxies see it: registry objects in, workloads, services and policies out.
import {
  keyOf,
  type Labels,
  type MeshObjects,
  type Node,
  type Pod,
  type Policy,
  type Service,
  type ServicePort,
} from './objects.ts';

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

/** A port of a service on one endpoint. */
export interface EndpointPort {
  readonly port: number;
  /** The number the application listens on; 0 when this endpoint does not serve the port. */
  readonly target: number;
}

/** Where a workload runs. */
export interface Locality {
  readonly region: string;
  readonly zone: string;
  readonly subzone: string;
}

/** A pod, as its peers need to know it. */
export interface Workload {
  readonly uid: string;
  readonly pod: Pod;
  /** Its traffic travels in HBONE. */
  readonly enrolled: boolean;
  readonly trustDomain: string;
  readonly clusterId: string;
  readonly canonicalName: string;
  readonly canonicalRevision: string;
  readonly locality: Locality;
  /** Ports by the key of the service, in order of the keys. */
  readonly services: ReadonlyMap<string, readonly EndpointPort[]>;
  /** Names of the policies that select it, in order. */
  readonly policies: readonly string[];
}

/** A service with the hostname it is known by. */
export interface NamedService {
  /** `NAMESPACE/HOSTNAME`. */
  readonly key: string;
  readonly hostname: string;
  readonly service: Service;
}

/** Which workloads a policy reaches: all, those of its namespace, or those that name it. */
export type PolicyScope = 'global' | 'namespace' | 'selector';

/** A policy with its reach. */
export interface ScopedPolicy {
  readonly key: string;
  readonly scope: PolicyScope;
  readonly policy: Policy;
}

/** One consistent state of the mesh. Immutable. */
export interface Snapshot {
  readonly workloads: ReadonlyMap<string, Workload>;
  readonly services: ReadonlyMap<string, NamedService>;
  readonly policies: ReadonlyMap<string, ScopedPolicy>;
  /** Whether the mesh carries a pod of this service account on this node. Unknown names: false. */
  places(node: string, namespace: string, serviceAccount: string): boolean;
}

const enrolLabel = 'istio.io/dataplane-mode';
const nameLabels = ['service.istio.io/canonical-name', 'app.kubernetes.io/name', 'app'];
const revisionLabels = [
  'service.istio.io/canonical-revision',
  'app.kubernetes.io/version',
  'version',
];

function firstLabel(labels: Labels, keys: readonly string[], otherwise: string): string {
  return keys.map((key) => labels[key]).find(Boolean) ?? otherwise;
}

// Text order by code unit, so that the bytes sent do not depend on the locale.
function byText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

/** Whether every label of the selector stands on the object. An empty selector selects all. */
export function selects(selector: Labels, labels: Labels): boolean {
  return Object.entries(selector).every(([key, value]) => labels[key] === value);
}

/** Whether a pod takes part in the mesh: its own label decides, else its namespace's. */
export function isEnrolled(pod: Pod, namespaceLabels: Labels): boolean {
  const mode = pod.labels[enrolLabel] ?? namespaceLabels[enrolLabel];
  return mode === 'ambient' && !pod.hostNetwork;
}

function targetOn(pod: Pod, { target }: ServicePort): number {
  return typeof target === 'number'
    ? target
    : (pod.ports.find(({ name }) => name === target)?.port ?? 0);
}

function groupBy<T>(items: readonly T[], keyOfItem: (item: T) => string): Map<string, T[]> {
  return Map.groupBy(items, keyOfItem);
}

function scopeOf(policy: Policy, rootNamespace: string): PolicyScope {
  if (policy.selector !== undefined) {
    return 'selector';
  }
  return policy.namespace === rootNamespace ? 'global' : 'namespace';
}

function localityOf(node: Node | undefined): Locality {
  return {
    region: node?.labels['topology.kubernetes.io/region'] ?? '',
    zone: node?.labels['topology.kubernetes.io/zone'] ?? '',
    subzone: node?.labels['topology.istio.io/subzone'] ?? '',
  };
}

function placementKey(node: string, namespace: string, serviceAccount: string): string {
  // Kubernetes names have no slash, so that the joined key is unambiguous.
  return `${node}/${namespace}/${serviceAccount}`;
}

// Everything the workloads of one snapshot are looked up in.
class Builder {
  readonly #objects: MeshObjects;
  readonly #settings: MeshSettings;
  readonly #namespaces: ReadonlyMap<string, Labels>;
  readonly #nodes: ReadonlyMap<string, Node>;
  readonly #services: ReadonlyMap<string, readonly NamedService[]>;
  readonly #selectors: ReadonlyMap<string, readonly ScopedPolicy[]>;
  readonly services: readonly NamedService[];
  readonly policies: readonly ScopedPolicy[];

  constructor(objects: MeshObjects, settings: MeshSettings) {
    this.#objects = objects;
    this.#settings = settings;
    this.#namespaces = new Map(objects.namespaces.map(({ name, labels }) => [name, labels]));
    this.#nodes = new Map(objects.nodes.map((node) => [node.name, node]));
    this.services = objects.services.map((service) => {
      const hostname = `${service.name}.${service.namespace}.svc.${settings.clusterDomain}`;
      return { key: `${service.namespace}/${hostname}`, hostname, service };
    });
    this.policies = objects.policies.map((policy) => ({
      key: keyOf(policy),
      scope: scopeOf(policy, settings.rootNamespace),
      policy,
    }));
    this.#services = groupBy(this.services, ({ service }) => service.namespace);
    this.#selectors = groupBy(
      this.policies.filter(({ scope }) => scope === 'selector'),
      ({ policy }) => policy.namespace,
    );
  }

  #servicesOf(pod: Pod): Map<string, readonly EndpointPort[]> {
    const own = (this.#services.get(pod.namespace) ?? []).filter(
      ({ service }) => service.selector !== undefined && selects(service.selector, pod.labels),
    );
    return new Map(
      own
        .toSorted((a, b) => byText(a.key, b.key))
        .map(({ key, service }) => [
          key,
          service.ports.map((port) => ({ port: port.port, target: targetOn(pod, port) })),
        ]),
    );
  }

  // Policies of the root namespace select workloads of every namespace.
  #policiesOf(pod: Pod): string[] {
    const namespaces = new Set([pod.namespace, this.#settings.rootNamespace]);
    return [...namespaces]
      .flatMap((namespace) => this.#selectors.get(namespace) ?? [])
      .filter(({ policy }) => selects(policy.selector ?? {}, pod.labels))
      .map(({ key }) => key)
      .sort(byText);
  }

  #workloadOf(pod: Pod): Workload {
    const { trustDomain, clusterId } = this.#settings;
    return {
      uid: `${clusterId}//Pod/${keyOf(pod)}`,
      pod,
      enrolled: isEnrolled(pod, this.#namespaces.get(pod.namespace) ?? {}),
      trustDomain,
      clusterId,
      canonicalName: firstLabel(pod.labels, nameLabels, pod.name),
      canonicalRevision: firstLabel(pod.labels, revisionLabels, 'latest'),
      locality: localityOf(this.#nodes.get(pod.node)),
      services: this.#servicesOf(pod),
      policies: this.#policiesOf(pod),
    };
  }

  workloads(): Workload[] {
    return this.#objects.pods
      .filter((pod) => !pod.finished && pod.addresses.length > 0)
      .map((pod) => this.#workloadOf(pod));
  }
}

/**
 * Builds the snapshot of a mesh. Pods that are finished or have no address yet are not part of it.
 * Pure: equal objects give equal snapshots.
 */
export function buildSnapshot(objects: MeshObjects, settings: MeshSettings): Snapshot {
  const builder = new Builder(objects, settings);
  const workloads = builder.workloads();
  const placements = new Set(
    workloads
      .filter(({ enrolled }) => enrolled)
      .map(({ pod }) => placementKey(pod.node, pod.namespace, pod.serviceAccount)),
  );
  return {
    workloads: new Map(workloads.map((workload) => [workload.uid, workload])),
    services: new Map(builder.services.map((service) => [service.key, service])),
    policies: new Map(builder.policies.map((policy) => [policy.key, policy])),
    places: (node, namespace, serviceAccount) =>
      placements.has(placementKey(node, namespace, serviceAccount)),
  };
}
