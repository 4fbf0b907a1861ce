// SPDX-License-Identifier: Apache-2.0
// Services as proxies see them, whatever kind of object they come from.
import type { Cidr } from '../lib/ip.ts';
import type {
  Labels,
  MeshObject,
  Service,
  ServiceEntry,
  ServicePort,
  TrafficDistribution,
} from './objects.ts';

/** A name, and maybe addresses, in front of endpoints. */
export interface MeshService {
  /** `NAMESPACE/HOSTNAME`. */
  readonly key: string;
  readonly hostname: string;
  readonly namespace: string;
  readonly name: string;
  /** None for a headless service. */
  readonly addresses: readonly Cidr[];
  readonly ports: readonly ServicePort[];
  /** Undefined when the service selects nothing. */
  readonly selector: Labels | undefined;
  readonly distribution: TrafficDistribution;
  /** Endpoints that are not ready are endpoints too. */
  readonly allowNotReady: boolean;
  /** Connections go on to the address that the client chose. */
  readonly passthrough: boolean;
  /** Identities of its endpoints besides their own. */
  readonly subjectAltNames: readonly string[];
  /** The platform knows it by this hostname: it wins over others of the same hostname. */
  readonly canonical: boolean;
  readonly isPrivate: boolean;
}

/** The hostname of a platform's service. */
export function serviceHostname(
  { namespace, name }: { readonly namespace: string; readonly name: string },
  clusterDomain: string,
): string {
  return `${name}.${namespace}.svc.${clusterDomain}`;
}

function hostAddress(address: Uint8Array): Cidr {
  return { address, length: 8 * address.length };
}

function ofService(service: Service, clusterDomain: string): MeshService {
  const hostname = serviceHostname(service, clusterDomain);
  const { namespace, name, ports, selector, distribution, allowNotReady } = service;
  return {
    ...{ namespace, name, ports, selector, distribution, allowNotReady },
    key: `${namespace}/${hostname}`,
    hostname,
    addresses: service.addresses.map(hostAddress),
    passthrough: false,
    subjectAltNames: [],
    canonical: true,
    isPrivate: false,
  };
}

function ofEntry(entry: ServiceEntry, hostname: string): MeshService {
  const { namespace, name, addresses, ports, selector, subjectAltNames, isPrivate } = entry;
  return {
    ...{ namespace, name, addresses, ports, selector, subjectAltNames, isPrivate },
    key: `${namespace}/${hostname}`,
    hostname,
    distribution: 'any',
    allowNotReady: false,
    passthrough: entry.resolution === 'none',
    canonical: false,
  };
}

/** The services that an object stands for: none for most kinds, one for each host of an entry. */
export function servicesOf(
  object: MeshObject | undefined,
  clusterDomain: string,
): readonly MeshService[] {
  if (object?.kind === 'Service') {
    return [ofService(object.value, clusterDomain)];
  }
  return object?.kind === 'ServiceEntry'
    ? object.value.hosts.map((host) => ofEntry(object.value, host))
    : [];
}
