// SPDX-License-Identifier: Apache-2.0
// Workloads from what they are made of: pods, workload entries, and endpoints written by hand.
import { formatIp } from '../lib/ip.ts';
import {
  type Endpoint,
  type EndpointSlice,
  keyOf,
  type Labels,
  type Node,
  type Pod,
  type ServiceEntry,
  type ServicePort,
  type SliceEndpoint,
  type WorkloadEntry,
} from './objects.ts';
import { byText } from './selectors.ts';
import type { MeshService } from './services.ts';

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

/** The ports of the services that a workload is an endpoint of, by the key of the service. */
export type Memberships = ReadonlyMap<string, readonly EndpointPort[]>;

/** What has an address or an identity of its own, as its peers need to know it. */
export interface Workload {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  /** 4 or 16 bytes each; none while only a hostname is known. */
  readonly addresses: readonly Uint8Array[];
  /**
   * A full name for this workload alone. Where there is no address, the name to resolve for one.
   * Empty: none.
   */
  readonly hostname: string;
  /** Empty: the network of the mesh. */
  readonly network: string;
  readonly node: string;
  readonly serviceAccount: string;
  readonly hostNetwork: boolean;
  readonly healthy: boolean;
  /** Its traffic travels in HBONE. */
  readonly enrolled: boolean;
  readonly canonicalName: string;
  readonly canonicalRevision: string;
  readonly locality: Locality;
  /** Share among the endpoints of a service, from 1. */
  readonly weight: number;
  /** In order of the keys. */
  readonly services: Memberships;
  /** Names of the policies that select it, in order. */
  readonly policies: readonly string[];
}

/** What the mesh round it says of a workload. */
export interface Surroundings {
  readonly clusterId: string;
  readonly services: Memberships;
  readonly policies: readonly string[];
}

const enrolLabel = 'istio.io/dataplane-mode';
const tunnelLabel = 'networking.istio.io/tunnel';
const nameLabels = ['service.istio.io/canonical-name', 'app.kubernetes.io/name', 'app'];
const revisionLabels = [
  'service.istio.io/canonical-revision',
  'app.kubernetes.io/version',
  'version',
];

function firstLabel(labels: Labels, keys: readonly string[], otherwise: string): string {
  return keys.map((key) => labels[key]).find(Boolean) ?? otherwise;
}

function canonical(labels: Labels, name: string) {
  return {
    canonicalName: firstLabel(labels, nameLabels, name),
    canonicalRevision: firstLabel(labels, revisionLabels, 'latest'),
  };
}

/** What the labels of a namespace, or of a pod, say of enrolment. */
export function enrolment(labels: Labels): string | undefined {
  return labels[enrolLabel];
}

/** Whether a pod takes part in the mesh: its own label decides, else its namespace's. */
export function isEnrolled(pod: Pod, namespaceLabels: Labels): boolean {
  const mode = enrolment(pod.labels) ?? enrolment(namespaceLabels);
  return mode === 'ambient' && !pod.hostNetwork;
}

/** Where the pods of a node run. */
export function localityOf(node: Node | undefined): Locality {
  return {
    region: node?.labels['topology.kubernetes.io/region'] ?? '',
    zone: node?.labels['topology.kubernetes.io/zone'] ?? '',
    subzone: node?.labels['topology.istio.io/subzone'] ?? '',
  };
}

/** The port of a pod that a port of a service leads to; 0 when the pod does not have it. */
export function targetOnPod(pod: Pod, { target }: ServicePort): number {
  return typeof target === 'number'
    ? target
    : (pod.ports.find(({ name }) => name === target)?.port ?? 0);
}

/** The port of an endpoint that a port of a service leads to; 0 when it does not have it. */
export function targetOnEndpoint(endpoint: Endpoint, { name, target }: ServicePort): number {
  const named = endpoint.ports.get(name);
  if (named !== undefined) {
    return named;
  }
  return typeof target === 'number' ? target : (endpoint.ports.get(target) ?? 0);
}

/** The port of a slice's endpoint that a port of the service leads to; 0 when it has none. */
export function targetOnSlice(slice: EndpointSlice, { name, port }: ServicePort): number {
  const found = slice.ports.find((candidate) => candidate.name === name);
  return found === undefined ? 0 : (found.port ?? port);
}

/** Whether a pod is a workload: it runs, and has an address. */
export function isPlaced(pod: Pod): boolean {
  return !pod.finished && pod.addresses.length > 0;
}

/** The workload of a pod. */
export function podWorkload(
  pod: Pod,
  around: Surroundings & { readonly namespaceLabels: Labels; readonly node: Node | undefined },
  hostname: string,
): Workload {
  const { name, namespace, addresses, serviceAccount, hostNetwork } = pod;
  return {
    ...{ name, namespace, addresses, serviceAccount, hostNetwork, hostname },
    uid: `${around.clusterId}//Pod/${keyOf(pod)}`,
    network: '',
    node: pod.node,
    healthy: pod.ready,
    enrolled: isEnrolled(pod, around.namespaceLabels),
    ...canonical(pod.labels, name),
    locality: localityOf(around.node),
    weight: 1,
    services: around.services,
    policies: around.policies,
  };
}

function endpointLocality({ locality }: Endpoint): Locality {
  const [region = '', zone = '', subzone = ''] = locality.split('/');
  return { region, zone, subzone };
}

function endpointWorkload(
  owner: { readonly namespace: string; readonly name: string },
  uid: string,
  endpoint: Endpoint,
  { services, policies }: Surroundings,
): Workload {
  const { address, hostname, labels, network, serviceAccount, weight } = endpoint;
  return {
    ...{ uid, hostname, network, serviceAccount, weight, services, policies },
    name: owner.name,
    namespace: owner.namespace,
    addresses: address === undefined ? [] : [address],
    node: '',
    hostNetwork: false,
    healthy: true,
    enrolled: labels[tunnelLabel] === 'http',
    ...canonical(labels, owner.name),
    locality: endpointLocality(endpoint),
  };
}

/** The workload of a workload entry. */
export function entryWorkload(entry: WorkloadEntry, around: Surroundings): Workload {
  const uid = `${around.clusterId}/networking.istio.io/WorkloadEntry/${keyOf(entry)}`;
  return endpointWorkload(entry, uid, entry.endpoint, around);
}

/** The ports of services on one endpoint, in order of the keys. */
export function memberships(
  services: readonly MeshService[],
  targetOf: (port: ServicePort) => number,
): Memberships {
  return new Map(
    services
      .toSorted((a, b) => byText(a.key, b.key))
      .map(({ key, ports }) => [
        key,
        ports.map((port) => ({ port: port.port, target: targetOf(port) })),
      ]),
  );
}

// A name without endpoints is its own endpoint where names are resolved.
function endpointsOf(entry: ServiceEntry): readonly Endpoint[] {
  if (entry.endpoints.length > 0 || entry.resolution !== 'dns' || entry.selector !== undefined) {
    return entry.resolution === 'none' ? [] : entry.endpoints;
  }
  return entry.hosts
    .filter((host) => !host.startsWith('*'))
    .map((hostname) => ({ ...emptyEndpoint, hostname }));
}

const emptyEndpoint: Endpoint = {
  address: undefined,
  hostname: '',
  ports: new Map(),
  labels: {},
  network: '',
  locality: '',
  weight: 1,
  serviceAccount: 'default',
};

/** The workloads that are written down in a service entry. */
export function inlineWorkloads(
  entry: ServiceEntry,
  services: readonly MeshService[],
  around: Surroundings,
): Workload[] {
  const prefix = `${around.clusterId}/networking.istio.io/ServiceEntry/${keyOf(entry)}`;
  return endpointsOf(entry).map((endpoint) => {
    const { address, hostname } = endpoint;
    const uid = `${prefix}/${address === undefined ? hostname : formatIp(address)}`;
    // An implied endpoint stands for its own name alone.
    const own =
      entry.endpoints.length > 0
        ? services
        : services.filter((service) => service.hostname === hostname);
    const members = memberships(own, (port) => targetOnEndpoint(endpoint, port));
    return endpointWorkload(entry, uid, endpoint, { ...around, services: members });
  });
}

/** The workload of one address of a slice that is no pod's. */
export function sliceWorkload(
  slice: EndpointSlice,
  endpoint: SliceEndpoint,
  address: Uint8Array,
  around: Surroundings & { readonly node: Node | undefined },
): Workload {
  const prefix = `${around.clusterId}/discovery.k8s.io/EndpointSlice/${keyOf(slice)}`;
  const locality = localityOf(around.node);
  return {
    ...endpointWorkload(
      slice,
      `${prefix}/${formatIp(address)}`,
      { ...emptyEndpoint, address },
      around,
    ),
    node: endpoint.node,
    healthy: endpoint.ready,
    locality: { ...locality, zone: endpoint.zone === '' ? locality.zone : endpoint.zone },
  };
}
