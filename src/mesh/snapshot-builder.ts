// SPDX-License-Identifier: Apache-2.0
// Keeps a snapshot equal to the objects of a registry; a change costs what it affects.
import { Affected, type Edit } from './affected.ts';
import { addressKey, MeshIndex } from './mesh-index.ts';
import {
  type EndpointSlice,
  idOf,
  keyOf,
  type Labels,
  type MeshChange,
  type MeshObject,
  type Pod,
  type Policy,
  type WorkloadEntry,
} from './objects.ts';
import { PeerRules, strictPolicy } from './peer-authentication.ts';
import { byText, Groups, selects } from './selectors.ts';
import type { MeshService } from './services.ts';
import type {
  MeshSettings,
  PolicyScope,
  ScopedPolicy,
  Snapshot,
  SnapshotChange,
} from './snapshot.ts';
import {
  type EndpointPort,
  entryWorkload,
  inlineWorkloads,
  isPlaced,
  type Memberships,
  memberships,
  podWorkload,
  sliceWorkload,
  targetOnEndpoint,
  targetOnPod,
  targetOnSlice,
  type Workload,
} from './workloads.ts';

function scopeOf(policy: Policy, rootNamespace: string): PolicyScope {
  if (policy.selector !== undefined) {
    return 'selector';
  }
  return policy.namespace === rootNamespace ? 'global' : 'namespace';
}

function placementKey(node: string, namespace: string, serviceAccount: string): string {
  // Kubernetes names have no slash, so that the joined key is unambiguous.
  return `${node}/${namespace}/${serviceAccount}`;
}

function editsOf({ removed, added }: MeshChange): Edit[] {
  const edits = new Map<string, Edit>();
  for (const before of removed) {
    edits.set(idOf(before), { before, after: undefined });
  }
  for (const after of added) {
    const id = idOf(after);
    edits.set(id, { before: edits.get(id)?.before, after });
  }
  return [...edits.values()];
}

interface Changes {
  readonly workloads: Map<string, Workload | undefined>;
  readonly services: Map<string, MeshService | undefined>;
  readonly policies: Map<string, ScopedPolicy | undefined>;
}

/**
 * Builds snapshots one change after the other. Pods that are finished or have no address yet are
 * not part of them. Equal objects give equal snapshots, whatever the way that led there.
 */
export class SnapshotBuilder {
  readonly #settings: MeshSettings;
  readonly #index: MeshIndex;
  readonly #workloads: Map<string, Workload> = new Map();
  readonly #policies: Map<string, ScopedPolicy> = new Map();
  readonly #placements: Groups = new Groups();
  // What each object gave: uids of workloads, and keys of policies.
  readonly #made: Map<string, readonly string[]> = new Map();
  readonly #converted: Map<string, ReadonlySet<string>> = new Map();
  readonly #peerRules: Map<string, PeerRules> = new Map();
  #isFirst = true;

  constructor(settings: MeshSettings) {
    this.#settings = settings;
    this.#index = new MeshIndex(settings.clusterDomain);
  }

  /** The snapshot now; the next `apply` changes it in place. */
  get snapshot(): Snapshot {
    return {
      workloads: this.#workloads,
      services: this.#index.services,
      policies: this.#policies,
      places: (...workload) => this.#placements.has(placementKey(...workload)),
    };
  }

  /** Takes a change of the objects, and returns what it changes of the snapshot. */
  apply(change: MeshChange): SnapshotChange {
    const edits = editsOf(change);
    const changes: Changes = { workloads: new Map(), services: new Map(), policies: new Map() };
    if (this.#isFirst) {
      this.#isFirst = false;
      this.#setPolicy(strictPolicy(this.#settings.rootNamespace), changes);
    }
    // All that goes goes first: what one object loses another may gain.
    for (const { before } of edits) {
      this.#remove(before, changes);
    }
    for (const { after } of edits) {
      this.#add(after, changes);
    }
    const affected = new Affected(this.#index, this.#settings.rootNamespace);
    for (const edit of edits) {
      affected.add(edit);
    }
    this.#changePeerRules(affected.peerSpaces, changes);
    this.#changeWorkloads(affected, changes);
    return changes;
  }

  #remove(object: MeshObject | undefined, changes: Changes): void {
    if (object === undefined) {
      return;
    }
    this.#index.remove(object);
    for (const { key } of this.#index.servicesOf(object)) {
      changes.services.set(key, undefined);
    }
    if (object.kind === 'AuthorizationPolicy') {
      this.#removePolicy(keyOf(object.value), changes);
    }
  }

  #add(object: MeshObject | undefined, changes: Changes): void {
    if (object === undefined) {
      return;
    }
    this.#index.add(object);
    for (const service of this.#index.servicesOf(object)) {
      changes.services.set(service.key, service);
    }
    if (object.kind === 'AuthorizationPolicy') {
      this.#setPolicy(object.value, changes);
    }
  }

  #setPolicy(policy: Policy, { policies }: Changes): void {
    const key = keyOf(policy);
    const scoped = { key, scope: scopeOf(policy, this.#settings.rootNamespace), policy };
    this.#policies.set(key, scoped);
    policies.set(key, scoped);
  }

  #removePolicy(key: string, { policies }: Changes): void {
    this.#policies.delete(key);
    policies.set(key, undefined);
  }

  #changePeerRules(namespaces: ReadonlySet<string>, changes: Changes): void {
    if (namespaces.has(this.#settings.rootNamespace)) {
      this.#peerRules.clear();
    }
    for (const namespace of namespaces) {
      this.#peerRules.delete(namespace);
      const rules = this.#rulesOf(namespace);
      const policies = [...this.#index.peerAuthentications.in(namespace)].flatMap(
        (object) => rules.convert(object) ?? [],
      );
      const keys = new Set(policies.map(keyOf));
      for (const key of this.#converted.get(namespace) ?? []) {
        if (!keys.has(key)) {
          this.#removePolicy(key, changes);
        }
      }
      for (const policy of policies) {
        this.#setPolicy(policy, changes);
      }
      this.#converted.set(namespace, keys);
    }
  }

  #rulesOf(namespace: string): PeerRules {
    const known = this.#peerRules.get(namespace);
    if (known !== undefined) {
      return known;
    }
    const { rootNamespace } = this.#settings;
    const all = this.#index.peerAuthentications;
    const rules = new PeerRules([...all.in(namespace)], [...all.in(rootNamespace)], rootNamespace);
    this.#peerRules.set(namespace, rules);
    return rules;
  }

  #changeWorkloads(affected: Affected, changes: Changes): void {
    for (const key of affected.pods) {
      const pod = this.#index.pods.get(key);
      const made = pod !== undefined && isPlaced(pod) ? [this.#ofPod(pod)] : [];
      this.#make(`Pod ${key}`, made, changes);
    }
    for (const key of affected.workloadEntries) {
      const entry = this.#index.workloadEntries.get(key);
      this.#make(
        `WorkloadEntry ${key}`,
        entry === undefined ? [] : [this.#ofEntry(entry)],
        changes,
      );
    }
    for (const key of affected.serviceEntries) {
      this.#make(`ServiceEntry ${key}`, this.#ofServiceEntry(key), changes);
    }
    for (const key of affected.slices) {
      const slice = this.#index.slices.get(key);
      this.#make(`EndpointSlice ${key}`, slice === undefined ? [] : this.#ofSlice(slice), changes);
    }
  }

  #make(source: string, workloads: readonly Workload[], changes: Changes): void {
    const before = this.#made.get(source) ?? [];
    const uids = new Set(workloads.map(({ uid }) => uid));
    for (const uid of before) {
      this.#place(uid, (placement) => this.#placements.remove(placement, uid));
      if (!uids.has(uid)) {
        this.#workloads.delete(uid);
        changes.workloads.set(uid, undefined);
      }
    }
    for (const workload of workloads) {
      this.#workloads.set(workload.uid, workload);
      changes.workloads.set(workload.uid, workload);
      this.#place(workload.uid, (placement) => this.#placements.add(placement, workload.uid));
    }
    if (uids.size === 0) {
      this.#made.delete(source);
    } else {
      this.#made.set(source, [...uids]);
    }
  }

  #place(uid: string, change: (placement: string) => void): void {
    const workload = this.#workloads.get(uid);
    if (workload?.enrolled === true && workload.node !== '') {
      change(placementKey(workload.node, workload.namespace, workload.serviceAccount));
    }
  }

  // Policies of the root namespace select workloads of every namespace.
  #policiesFor(namespace: string, labels: Labels): string[] {
    const { rootNamespace } = this.#settings;
    const names: string[] = [];
    for (const space of new Set([namespace, rootNamespace])) {
      for (const policy of this.#index.policies.in(space)) {
        if (policy.selector !== undefined && selects(policy.selector, labels)) {
          names.push(keyOf(policy));
        }
      }
    }
    const strict = this.#rulesOf(namespace).policyOf({ labels });
    return [...names, ...(strict === undefined ? [] : [strict])].sort(byText);
  }

  #selectingFor(namespace: string, labels: Labels): MeshService[] {
    return [...this.#index.selecting(namespace)].filter(
      ({ selector }) => selector !== undefined && selects(selector, labels),
    );
  }

  // A slice adds a pod to a service that does not select it by itself.
  #fromSlices(pod: Pod): Memberships {
    const found = new Map<string, readonly EndpointPort[]>();
    for (const sliceKey of [...this.#index.slicesAbout(pod)].sort(byText)) {
      const slice = this.#index.slices.get(sliceKey);
      const service = slice && this.#serviceOf(slice);
      if (slice === undefined || service === undefined || !countsIn(slice, service, pod)) {
        continue;
      }
      for (const [key, ports] of memberships([service], (port) => targetOnSlice(slice, port))) {
        found.set(key, ports);
      }
    }
    return found;
  }

  #serviceOf(slice: EndpointSlice): MeshService | undefined {
    return this.#index.services.get(this.#index.serviceKey(slice.namespace, slice.service));
  }

  #ofPod(pod: Pod): Workload {
    const selecting = this.#selectingFor(pod.namespace, pod.labels);
    const selected = memberships(selecting, (port) => targetOnPod(pod, port));
    const added = this.#fromSlices(pod);
    const services =
      added.size === 0
        ? selected
        : new Map([...added, ...selected].sort(([a], [b]) => byText(a, b)));
    const around = {
      clusterId: this.#settings.clusterId,
      services,
      policies: this.#policiesFor(pod.namespace, pod.labels),
      namespaceLabels: this.#index.namespaces.get(pod.namespace)?.labels ?? {},
      node: this.#index.nodes.get(pod.node),
    };
    return podWorkload(pod, around, this.#hostnameOf(pod, services));
  }

  // A pod has a name of its own in the headless service that it says it belongs to.
  #hostnameOf(pod: Pod, services: Memberships): string {
    const key = this.#index.serviceKey(pod.namespace, pod.subdomain);
    const service = services.has(key) ? this.#index.services.get(key) : undefined;
    return pod.hostname !== '' && service?.addresses.length === 0
      ? `${pod.hostname}.${service.hostname}`
      : '';
  }

  #ofEntry(entry: WorkloadEntry): Workload {
    const { namespace, endpoint } = entry;
    const selecting = this.#selectingFor(namespace, endpoint.labels);
    return entryWorkload(entry, {
      clusterId: this.#settings.clusterId,
      services: memberships(selecting, (port) => targetOnEndpoint(endpoint, port)),
      policies: this.#policiesFor(namespace, endpoint.labels),
    });
  }

  #ofServiceEntry(key: string): Workload[] {
    const value = this.#index.serviceEntries.get(key);
    if (value === undefined) {
      return [];
    }
    const services = this.#index.servicesOf({ kind: 'ServiceEntry', value });
    const { clusterId } = this.#settings;
    return inlineWorkloads(value, services, { clusterId, services: new Map(), policies: [] });
  }

  // Only the addresses that no pod has: pods are workloads already.
  #ofSlice(slice: EndpointSlice): Workload[] {
    const service = this.#serviceOf(slice);
    if (service === undefined) {
      return [];
    }
    const services = memberships([service], (port) => targetOnSlice(slice, port));
    const found = new Map<string, Workload>();
    for (const endpoint of slice.endpoints) {
      const around = {
        ...{ clusterId: this.#settings.clusterId, services, policies: [] },
        node: this.#index.nodes.get(endpoint.node),
      };
      for (const address of endpoint.pod === undefined ? endpoint.addresses : []) {
        if (!this.#index.podsAt.has(addressKey(address))) {
          found.set(addressKey(address), sliceWorkload(slice, endpoint, address, around));
        }
      }
    }
    return [...found.values()];
  }
}

// Endpoints that are not ready count where the service wants them. Where a service selects its
// pods, slices only repeat, maybe late, what the pods themselves say.
function countsIn(slice: EndpointSlice, service: MeshService, pod: Pod): boolean {
  const own = new Set(pod.addresses.map(addressKey));
  return slice.endpoints.some((endpoint) => {
    const isIt =
      endpoint.pod === undefined
        ? endpoint.addresses.some((address) => own.has(addressKey(address)))
        : endpoint.pod === pod.name && slice.namespace === pod.namespace && !service.selector;
    return isIt && (endpoint.ready || service.allowNotReady);
  });
}

/** The snapshot of a mesh of these objects, no two of which may have the same kind and name. */
export function buildSnapshot(objects: readonly MeshObject[], settings: MeshSettings): Snapshot {
  const builder = new SnapshotBuilder(settings);
  builder.apply({ removed: [], added: objects });
  return builder.snapshot;
}
