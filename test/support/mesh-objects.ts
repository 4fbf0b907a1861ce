// SPDX-License-Identifier: Apache-2.0
// Objects of a mesh for tests: each complete, with what a test cares about put in its place.
import { parseIp } from '../../src/lib/ip.ts';
import type {
  Endpoint,
  EndpointSlice,
  Kind,
  MeshObject,
  ObjectOf,
  PeerAuthentication,
  Pod,
  Policy,
  Service,
  ServiceEntry,
  WorkloadEntry,
} from '../../src/mesh/objects.ts';

/** The bytes of an address. */
export function ip(text: string): Uint8Array {
  const bytes = parseIp(text);
  if (bytes === undefined) {
    throw new Error(`${text} is no address`);
  }
  return bytes;
}

export const pod = (more: Partial<Pod> = {}): Pod => ({
  namespace: 'demo',
  name: 'x',
  labels: { app: 'web' },
  node: 'a',
  serviceAccount: 'web',
  hostNetwork: false,
  addresses: [ip('10.0.0.1')],
  ports: [{ name: 'http', port: 8080 }],
  finished: false,
  ready: true,
  hostname: '',
  subdomain: '',
  ...more,
});

export const service = (more: Partial<Service> = {}): Service => ({
  namespace: 'demo',
  name: 'web',
  addresses: [],
  ports: [{ name: 'http', port: 80, target: 'http' }],
  selector: { app: 'web' },
  distribution: 'any',
  allowNotReady: false,
  ...more,
});

export const policy = (more: Partial<Policy> = {}): Policy => ({
  namespace: 'demo',
  name: 'p',
  selector: { app: 'web' },
  action: 'allow',
  rules: [],
  dryRun: false,
  ...more,
});

export const peerAuthentication = (more: Partial<PeerAuthentication> = {}): PeerAuthentication => ({
  namespace: 'demo',
  name: 'default',
  selector: undefined,
  mode: 'strict',
  ports: new Map(),
  ...more,
});

export const endpoint = (more: Partial<Endpoint> = {}): Endpoint => ({
  address: ip('192.0.2.1'),
  hostname: '',
  ports: new Map(),
  labels: { app: 'web' },
  network: '',
  locality: '',
  weight: 1,
  serviceAccount: 'default',
  ...more,
});

export const workloadEntry = (more: Partial<WorkloadEntry> = {}): WorkloadEntry => ({
  namespace: 'demo',
  name: 'vm',
  endpoint: endpoint(),
  ...more,
});

export const serviceEntry = (more: Partial<ServiceEntry> = {}): ServiceEntry => ({
  namespace: 'demo',
  name: 'outside',
  hosts: ['api.example.com'],
  addresses: [],
  ports: [{ name: 'https', port: 443, target: 443 }],
  resolution: 'static',
  endpoints: [],
  selector: undefined,
  subjectAltNames: [],
  isPrivate: false,
  ...more,
});

export const slice = (more: Partial<EndpointSlice> = {}): EndpointSlice => ({
  namespace: 'demo',
  name: 'web-1',
  service: 'web',
  ports: [{ name: 'http', port: 9090 }],
  endpoints: [{ addresses: [ip('192.0.2.9')], ready: true, pod: undefined, node: '', zone: '' }],
  ...more,
});

/** The kinds of object by which a test names its mesh. */
export type Listed = { readonly [K in Kind]?: readonly ObjectOf<K>[] };

/** A mesh as a list: namespace `demo`, which is enrolled, node `a`, and what is given. */
export function meshOf(listed: Listed): MeshObject[] {
  const all: Listed = {
    Namespace: [{ name: 'demo', labels: { 'istio.io/dataplane-mode': 'ambient' } }],
    Node: [{ name: 'a', labels: { 'topology.kubernetes.io/region': 'r' } }],
    ...listed,
  };
  return Object.entries(all).flatMap(([kind, values]) =>
    // The kind and the value are of one entry.
    values.map((value) => ({ kind, value }) as MeshObject),
  );
}

/** The objects of one kind. */
export function valuesOf<K extends Kind>(kind: K, objects: readonly MeshObject[]): ObjectOf<K>[] {
  return objects.flatMap((object) => (object.kind === kind ? [object.value as ObjectOf<K>] : []));
}
