// SPDX-License-Identifier: Apache-2.0
// The names of the mesh and what they stand for. No I/O.

/** A service as names need it. */
export interface NamedService {
  readonly kind: 'service';
  /** "namespace/hostname". */
  readonly key: string;
  /** Lower case; may begin with "*." */
  readonly hostname: string;
  readonly namespace: string;
  /** None for a headless service, whose endpoints answer. */
  readonly addresses: readonly string[];
  /** Only pods of its own namespace may know it. */
  readonly isPrivate: boolean;
  /** Of several with one hostname, the one that others mean. */
  readonly canonical: boolean;
  /** Endpoints that are not ready are named too. */
  readonly allEndpoints: boolean;
}

/** A workload as names need it. */
export interface NamedWorkload {
  readonly kind: 'workload';
  readonly key: string;
  /** Its own name, in lower case; empty when it has none. */
  readonly hostname: string;
  readonly addresses: readonly string[];
  /** Keys of the services it is an endpoint of. */
  readonly services: readonly string[];
  readonly healthy: boolean;
}

/** One change of the table; the key of a service is never one of a workload. */
export type NameChange =
  | NamedService
  | NamedWorkload
  | { readonly kind: 'gone'; readonly key: string };

/** What a name stands for: addresses of both families, perhaps none. */
export interface Found {
  readonly addresses: readonly string[];
  /** Where the authority for the name begins. */
  readonly zone: string;
}

/** A map from a name to many keys. */
class Index {
  readonly #keys = new Map<string, Set<string>>();

  of(name: string): ReadonlySet<string> {
    return this.#keys.get(name) ?? new Set();
  }

  add(name: string, key: string): void {
    const keys = this.#keys.get(name);
    if (keys === undefined) {
      this.#keys.set(name, new Set([key]));
    } else {
      keys.add(key);
    }
  }

  delete(name: string, key: string): void {
    const keys = this.#keys.get(name);
    if (keys?.delete(key) === true && keys.size === 0) {
      this.#keys.delete(name);
    }
  }
}

/** Every name of the mesh. */
export class NameTable {
  readonly #clusterDomain: string;
  readonly #services = new Map<string, NamedService>();
  readonly #workloads = new Map<string, NamedWorkload>();
  readonly #servicesByHost = new Index();
  readonly #workloadsByHost = new Index();
  readonly #endpoints = new Index();

  /** @param clusterDomain the last labels of the hostnames of Kubernetes services. */
  constructor(clusterDomain: string) {
    this.#clusterDomain = clusterDomain;
  }

  /** Takes changes in, in order. */
  apply(changes: readonly NameChange[]): void {
    for (const change of changes) {
      this.#remove(change.key);
      if (change.kind === 'service') {
        this.#services.set(change.key, change);
        this.#servicesByHost.add(change.hostname, change.key);
      } else if (change.kind === 'workload') {
        this.#addWorkload(change);
      }
    }
  }

  /**
   * What `name` (lower case, no last dot) means to a pod of `namespace`; undefined when it is not
   * the mesh's to answer.
   *
   * A name of one label is a service of the pod's own namespace, and one that ends in "svc" lacks
   * the cluster's domain: neither can exist outside. "NAME.NAMESPACE" by itself could also be a
   * real domain, so that it is left to the client's search list to complete it.
   */
  find(name: string, namespace: string): Found | undefined {
    const domain = this.#clusterDomain;
    if (!name.includes('.')) {
      return this.#findWhole(`${name}.${namespace}.svc.${domain}`, namespace);
    }
    return name.endsWith('.svc')
      ? this.#findWhole(`${name}.${domain}`, namespace)
      : this.#findWhole(name, namespace);
  }

  #findWhole(name: string, namespace: string): Found | undefined {
    const own = this.#servicesByHost.of(name);
    const service = this.#choose(own, namespace);
    if (service !== undefined) {
      return this.#foundOf(name, service);
    }
    const pods = [...this.#workloadsByHost.of(name)].flatMap((key) => {
      const workload = this.#workloads.get(key);
      return workload?.healthy === true ? [...workload.addresses] : [];
    });
    if (this.#workloadsByHost.of(name).size > 0) {
      return { addresses: pods, zone: this.#zoneOf(name) };
    }
    return this.#findWildcard(name, namespace);
  }

  // The longest that fits; it has to have addresses of its own.
  #findWildcard(name: string, namespace: string): Found | undefined {
    for (let dot = name.indexOf('.'); dot >= 0; dot = name.indexOf('.', dot + 1)) {
      const service = this.#choose(this.#servicesByHost.of(`*${name.slice(dot)}`), namespace);
      if (service !== undefined) {
        return service.addresses.length === 0
          ? undefined
          : { addresses: service.addresses, zone: this.#zoneOf(name) };
      }
    }
    return undefined;
  }

  #foundOf(name: string, service: NamedService): Found | undefined {
    const addresses = service.addresses.length > 0 ? service.addresses : this.#endpointsOf(service);
    // Without any address, a name of the outside is the outside's to resolve.
    return addresses.length > 0 || this.#isOfCluster(name)
      ? { addresses, zone: this.#zoneOf(name) }
      : undefined;
  }

  #endpointsOf(service: NamedService): string[] {
    return [...this.#endpoints.of(service.key)].flatMap((key) => {
      const workload = this.#workloads.get(key);
      const named = workload !== undefined && (workload.healthy || service.allEndpoints);
      return named ? [...workload.addresses] : [];
    });
  }

  // The pod's own namespace first, then the canonical one, then the first by name.
  #choose(keys: ReadonlySet<string>, namespace: string): NamedService | undefined {
    const rank = (service: NamedService): number =>
      service.namespace === namespace ? 0 : service.canonical ? 1 : 2;
    return [...keys]
      .flatMap((key) => this.#services.get(key) ?? [])
      .filter((service) => !service.isPrivate || service.namespace === namespace)
      .sort((a, b) => rank(a) - rank(b) || (a.key < b.key ? -1 : 1))[0];
  }

  #isOfCluster(name: string): boolean {
    return name.endsWith(`.${this.#clusterDomain}`);
  }

  #zoneOf(name: string): string {
    return this.#isOfCluster(name) ? this.#clusterDomain : name;
  }

  #addWorkload(workload: NamedWorkload): void {
    this.#workloads.set(workload.key, workload);
    if (workload.hostname !== '') {
      this.#workloadsByHost.add(workload.hostname, workload.key);
    }
    for (const service of workload.services) {
      this.#endpoints.add(service, workload.key);
    }
  }

  #remove(key: string): void {
    const service = this.#services.get(key);
    if (service !== undefined) {
      this.#services.delete(key);
      this.#servicesByHost.delete(service.hostname, key);
    }
    const workload = this.#workloads.get(key);
    if (workload !== undefined) {
      this.#workloads.delete(key);
      this.#workloadsByHost.delete(workload.hostname, key);
      for (const each of workload.services) {
        this.#endpoints.delete(each, key);
      }
    }
  }
}
