// SPDX-License-Identifier: Apache-2.0
// All objects of the mesh, with the look-ups that say what belongs together.
import {
  type EndpointSlice,
  keyOf,
  type MeshObject,
  type Namespace,
  type Node,
  type PeerAuthentication,
  type Pod,
  type Policy,
  type ServiceEntry,
  type WorkloadEntry,
} from './objects.ts';
import { Groups, Table } from './selectors.ts';
import { type MeshService, serviceHostname, servicesOf } from './services.ts';
import { isPlaced } from './workloads.ts';

/** The name of an address as a key. */
export function addressKey(address: Uint8Array): string {
  return String(address);
}

// The pod's own addresses: those of its node are not.
function podAddresses(pod: Pod): string[] {
  return isPlaced(pod) && !pod.hostNetwork ? pod.addresses.map(addressKey) : [];
}

/** All objects. It holds what it was told, and decides nothing. */
export class MeshIndex {
  readonly #clusterDomain: string;
  readonly namespaces: Map<string, Namespace> = new Map();
  readonly nodes: Map<string, Node> = new Map();
  readonly pods: Table<Pod> = new Table();
  readonly workloadEntries: Table<WorkloadEntry> = new Table();
  readonly serviceEntries: Table<ServiceEntry> = new Table();
  readonly slices: Table<EndpointSlice> = new Table();
  readonly policies: Table<Policy> = new Table();
  readonly peerAuthentications: Table<PeerAuthentication> = new Table();
  /** By `NAMESPACE/HOSTNAME`. */
  readonly services: Map<string, MeshService> = new Map();
  /** Keys of pods by the name of their node. */
  readonly podsOfNode: Groups = new Groups();
  /** Keys of pods by `addressKey`. */
  readonly podsAt: Groups = new Groups();
  /** Keys of slices by the key of their service. */
  readonly slicesOfService: Groups = new Groups();
  /** Keys of slices by the key of a pod that they name. */
  readonly slicesOfPod: Groups = new Groups();
  /** Keys of slices by the `addressKey` of an endpoint that names no pod. */
  readonly slicesAt: Groups = new Groups();
  readonly #selecting: Map<string, Map<string, MeshService>> = new Map();

  /** @param clusterDomain the last labels of service hostnames. */
  constructor(clusterDomain: string) {
    this.#clusterDomain = clusterDomain;
  }

  /** The services of a namespace that have a selector. */
  selecting(namespace: string): Iterable<MeshService> {
    return this.#selecting.get(namespace)?.values() ?? [];
  }

  /** The key of a platform's service. */
  serviceKey(namespace: string, name: string): string {
    return `${namespace}/${serviceHostname({ namespace, name }, this.#clusterDomain)}`;
  }

  /** The services that an object stands for. */
  servicesOf(object: MeshObject | undefined): readonly MeshService[] {
    return servicesOf(object, this.#clusterDomain);
  }

  /** Takes an object out, the same as it was added. */
  remove(object: MeshObject): void {
    for (const service of this.servicesOf(object)) {
      this.services.delete(service.key);
      this.#selecting.get(service.namespace)?.delete(service.key);
    }
    this.#keep(object, false);
    this.#group(object, (groups, group, key) => groups.remove(group, key));
  }

  /** Adds an object. Another of the same kind and name must have been taken out. */
  add(object: MeshObject): void {
    for (const service of this.servicesOf(object)) {
      this.services.set(service.key, service);
      if (service.selector !== undefined) {
        const space = this.#selecting.get(service.namespace) ?? new Map<string, MeshService>();
        this.#selecting.set(service.namespace, space.set(service.key, service));
      }
    }
    this.#keep(object, true);
    this.#group(object, (groups, group, key) => groups.add(group, key));
  }

  #keep({ kind, value }: MeshObject, isThere: boolean): void {
    switch (kind) {
      case 'Namespace':
        keepNamed(this.namespaces, value, isThere);
        return;
      case 'Node':
        keepNamed(this.nodes, value, isThere);
        return;
      case 'Pod':
        this.pods.keep(value, isThere);
        return;
      case 'WorkloadEntry':
        this.workloadEntries.keep(value, isThere);
        return;
      case 'ServiceEntry':
        this.serviceEntries.keep(value, isThere);
        return;
      case 'EndpointSlice':
        this.slices.keep(value, isThere);
        return;
      case 'AuthorizationPolicy':
        this.policies.keep(value, isThere);
        return;
      case 'PeerAuthentication':
        this.peerAuthentications.keep(value, isThere);
        return;
      default: // services are kept by their hostnames, and accounts are not looked up
        return;
    }
  }

  #group(
    { kind, value }: MeshObject,
    change: (groups: Groups, group: string, key: string) => void,
  ): void {
    if (kind === 'Pod') {
      change(this.podsOfNode, value.node, keyOf(value));
      for (const address of podAddresses(value)) {
        change(this.podsAt, address, keyOf(value));
      }
    } else if (kind === 'EndpointSlice') {
      change(this.slicesOfService, this.serviceKey(value.namespace, value.service), keyOf(value));
      for (const endpoint of value.endpoints) {
        if (endpoint.pod !== undefined) {
          change(this.slicesOfPod, `${value.namespace}/${endpoint.pod}`, keyOf(value));
          continue;
        }
        for (const address of endpoint.addresses) {
          change(this.slicesAt, addressKey(address), keyOf(value));
        }
      }
    }
  }

  /** Keys of the slices that speak of a pod. */
  slicesAbout(pod: Pod): Set<string> {
    const byAddress = podAddresses(pod).flatMap((address) => [...this.slicesAt.of(address)]);
    return new Set([...this.slicesOfPod.of(keyOf(pod)), ...byAddress]);
  }

  /** Keys of the pods that a slice speaks of. */
  podsIn(slice: EndpointSlice): Set<string> {
    return new Set(
      slice.endpoints.flatMap(({ pod, addresses }) =>
        pod === undefined
          ? addresses.flatMap((address) => [...this.podsAt.of(addressKey(address))])
          : [`${slice.namespace}/${pod}`],
      ),
    );
  }
}

function keepNamed<T extends { readonly name: string }>(
  map: Map<string, T>,
  object: T,
  isThere: boolean,
): void {
  if (isThere) {
    map.set(object.name, object);
  } else {
    map.delete(object.name);
  }
}
