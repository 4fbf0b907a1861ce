// SPDX-License-Identifier: Apache-2.0
// Encodes the snapshot's workloads, services and policies as xDS resources.
import { createHash } from 'node:crypto';
import {
  create,
  type DescMessage,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import { type Cidr, formatIp } from '../lib/ip.ts';
import type {
  AppProtocol as MeshAppProtocol,
  NamedMeshConfig,
  PolicyMatch,
  StringMatch,
  TrafficDistribution,
} from '../mesh/objects.ts';
import type { MeshService } from '../mesh/services.ts';
import type { ScopedPolicy, SnapshotChange } from '../mesh/snapshot.ts';
import type { Locality, Workload } from '../mesh/workloads.ts';
import {
  Action,
  AuthorizationSchema,
  type MatchSchema,
  Scope,
  type StringMatchSchema,
} from './gen/authorization_pb.js';
import { ResourceSchema } from './gen/discovery_pb.js';
import {
  AddressSchema,
  AppProtocol,
  LoadBalancing_HealthPolicy as HealthPolicy,
  IPFamilies,
  LoadBalancing_Scope as LbScope,
  type LoadBalancingSchema,
  LoadBalancing_Mode as Mode,
  type NetworkAddressSchema,
  NetworkMode,
  type PortSchema,
  type ServiceSchema,
  TunnelProtocol,
  Visibility,
  type WorkloadSchema,
  WorkloadStatus,
  WorkloadType,
} from './gen/workload_pb.js';
import {
  MeshConfigSchema,
  type TrustBundle,
  TrustBundleSchema,
  type TypeUrl,
  typeUrls,
} from './wire.ts';

/** One resource, encoded once and shared by every stream. */
export interface EncodedResource {
  readonly name: string;
  /** Hash of the body: equal bodies have equal versions, across restarts too. */
  readonly version: string;
  /** The bytes of a whole Resource message. */
  readonly bytes: Uint8Array;
  /** A policy that binds only the workloads that name it. */
  readonly boundByName: boolean;
  /** Other names it is found by: `NETWORK/ADDRESS`, one for each address. */
  readonly aliases: readonly string[];
  /** Keys of the services that it is an endpoint of; of a service, its own. */
  readonly services: readonly string[];
  /** Where it runs; empty when nowhere, or not known. */
  readonly node: string;
}

/** What changed of one type. A name stands in one of the two at most. */
export interface ResourceChange {
  readonly changed: readonly EncodedResource[];
  readonly removed: readonly string[];
}

/** What a change of the mesh changes on the wire. */
export type MeshResourceChange = Readonly<
  Record<typeof typeUrls.address | typeof typeUrls.authorization, ResourceChange>
>;

/** What the encoding of a workload takes from the mesh as a whole. */
export interface EncodeSettings {
  readonly trustDomain: string;
  readonly clusterId: string;
}

const appProtocols: Readonly<Record<MeshAppProtocol, AppProtocol>> = {
  http11: AppProtocol.HTTP11,
  http2: AppProtocol.HTTP2,
  grpc: AppProtocol.GRPC,
  tcp: AppProtocol.TCP,
  tls: AppProtocol.TLS,
};

const zones = [LbScope.NETWORK, LbScope.REGION, LbScope.ZONE];

const distributions: Readonly<
  Record<TrafficDistribution, MessageInitShape<typeof LoadBalancingSchema>>
> = {
  any: {},
  preferSameZone: { mode: Mode.FAILOVER, routingPreference: zones },
  preferSameNode: {
    mode: Mode.FAILOVER,
    routingPreference: [...zones, LbScope.SUBZONE, LbScope.NODE],
  },
  onlySameNode: { mode: Mode.STRICT, routingPreference: [LbScope.NODE] },
};

const scopes = {
  global: Scope.GLOBAL,
  namespace: Scope.NAMESPACE,
  selector: Scope.WORKLOAD_SELECTOR,
} as const;

// Versions are compared, never trusted: 96 bits keep chance collisions away.
const versionCharacters = 24;

type Found = Pick<EncodedResource, 'boundByName' | 'aliases' | 'services' | 'node'>;

const foundByName: Found = { boundByName: false, aliases: [], services: [], node: '' };

function encodeResource<T extends DescMessage>(
  name: string,
  typeUrl: TypeUrl,
  schema: T,
  body: MessageShape<T>,
  found: Found,
): EncodedResource {
  const value = toBinary(schema, body);
  const version = createHash('sha256').update(value).digest('hex').slice(0, versionCharacters);
  const aliases = [...found.aliases];
  const resource = create(ResourceSchema, { name, version, aliases, resource: { typeUrl, value } });
  return { name, version, bytes: toBinary(ResourceSchema, resource), ...found };
}

function isKnown({ region, zone, subzone }: Locality): boolean {
  return region !== '' || zone !== '' || subzone !== '';
}

function workloadInit(
  workload: Workload,
  { trustDomain, clusterId }: EncodeSettings,
): MessageInitShape<typeof WorkloadSchema> {
  const entries = [...workload.services].map(([key, ports]): [string, { ports: PortInit[] }] => [
    key,
    { ports: ports.map(({ port, target }) => ({ servicePort: port, targetPort: target })) },
  ]);
  const { uid, name, namespace, hostname, network, serviceAccount, node } = workload;
  return {
    ...{ uid, name, namespace, hostname, network, serviceAccount, node, trustDomain, clusterId },
    addresses: [...workload.addresses],
    tunnelProtocol: workload.enrolled ? TunnelProtocol.HBONE : TunnelProtocol.NONE,
    canonicalName: workload.canonicalName,
    canonicalRevision: workload.canonicalRevision,
    workloadType: WorkloadType.POD,
    workloadName: name,
    services: Object.fromEntries(entries),
    authorizationPolicies: [...workload.policies],
    status: workload.healthy ? WorkloadStatus.HEALTHY : WorkloadStatus.UNHEALTHY,
    networkMode: workload.hostNetwork ? NetworkMode.HOST_NETWORK : NetworkMode.STANDARD,
    ...(workload.weight === 1 ? {} : { capacity: workload.weight }),
    ...(isKnown(workload.locality) ? { locality: workload.locality } : {}),
  };
}

type PortInit = MessageInitShape<typeof PortSchema>;

function familiesOf(addresses: readonly Cidr[]): IPFamilies {
  const v4 = addresses.some(({ address }) => address.length === 4);
  const v6 = addresses.some(({ address }) => address.length === 16);
  if (v4 && v6) {
    return IPFamilies.DUAL;
  }
  return v4 ? IPFamilies.IPV4_ONLY : v6 ? IPFamilies.IPV6_ONLY : IPFamilies.AUTOMATIC;
}

// A length is said for a range alone: not every reader of this type looks for one.
function networkAddress({ address, length }: Cidr): MessageInitShape<typeof NetworkAddressSchema> {
  return length === 8 * address.length ? { address } : { address, length };
}

function serviceInit(service: MeshService): MessageInitShape<typeof ServiceSchema> {
  const loadBalancing = {
    ...distributions[service.distribution],
    ...(service.passthrough ? { mode: Mode.PASSTHROUGH } : {}),
    healthPolicy: service.allowNotReady ? HealthPolicy.ALLOW_ALL : HealthPolicy.ONLY_HEALTHY,
  };
  const { name, namespace, hostname, canonical } = service;
  return {
    ...{ name, namespace, hostname, canonical, loadBalancing },
    addresses: service.addresses.map(networkAddress),
    ports: service.ports.map(({ port, target, appProtocol }) => ({
      servicePort: port,
      // A named target differs from pod to pod: each endpoint says its own.
      targetPort: typeof target === 'number' ? target : 0,
      appProtocol: appProtocol === undefined ? AppProtocol.UNKNOWN : appProtocols[appProtocol],
    })),
    subjectAltNames: [...service.subjectAltNames],
    ipFamilies: familiesOf(service.addresses),
    visibility: service.isPrivate ? Visibility.NAMESPACE : Visibility.PUBLIC,
  };
}

function stringInit(match: StringMatch): MessageInitShape<typeof StringMatchSchema> {
  return match.kind === 'presence'
    ? { matchType: { case: 'presence', value: {} } }
    : { matchType: { case: match.kind, value: match.value } };
}

function matchInit(match: PolicyMatch): MessageInitShape<typeof MatchSchema> {
  return {
    namespaces: match.namespaces?.map(stringInit) ?? [],
    notNamespaces: match.notNamespaces?.map(stringInit) ?? [],
    principals: match.principals?.map(stringInit) ?? [],
    notPrincipals: match.notPrincipals?.map(stringInit) ?? [],
    sourceIps: [...(match.sourceIps ?? [])],
    notSourceIps: [...(match.notSourceIps ?? [])],
    destinationIps: [...(match.destinationIps ?? [])],
    notDestinationIps: [...(match.notDestinationIps ?? [])],
    destinationPorts: [...(match.destinationPorts ?? [])],
    notDestinationPorts: [...(match.notDestinationPorts ?? [])],
    serviceAccounts: [...(match.serviceAccounts ?? [])],
    notServiceAccounts: [...(match.notServiceAccounts ?? [])],
  };
}

/** Encodes a policy as an `istio.security.Authorization`. */
export function encodePolicy({ key, scope, policy }: ScopedPolicy): EncodedResource {
  const body = create(AuthorizationSchema, {
    name: policy.name,
    namespace: policy.namespace,
    scope: scopes[scope],
    action: policy.action === 'deny' ? Action.DENY : Action.ALLOW,
    rules: policy.rules.map((clauses) => ({
      clauses: clauses.map((matches) => ({ matches: matches.map(matchInit) })),
    })),
    dryRun: policy.dryRun,
  });
  const found = { ...foundByName, boundByName: scope === 'selector' };
  return encodeResource(key, typeUrls.authorization, AuthorizationSchema, body, found);
}

/** Encodes a workload as an `istio.workload.Address`. */
export function encodeWorkload(workload: Workload, settings: EncodeSettings): EncodedResource {
  const value = workloadInit(workload, settings);
  const body = create(AddressSchema, { type: { case: 'workload', value } });
  // The addresses of a pod in its node's network are the node's.
  const own = workload.hostNetwork ? [] : workload.addresses;
  return encodeResource(workload.uid, typeUrls.address, AddressSchema, body, {
    boundByName: false,
    aliases: own.map((address) => `${workload.network}/${formatIp(address)}`),
    services: [...workload.services.keys()],
    node: workload.node,
  });
}

/** Encodes a service as an `istio.workload.Address`. */
export function encodeService(service: MeshService): EncodedResource {
  const body = create(AddressSchema, { type: { case: 'service', value: serviceInit(service) } });
  const aliases = service.addresses
    .filter(({ address, length }) => length === 8 * address.length)
    .map(({ address }) => `/${formatIp(address)}`);
  const found = { ...foundByName, aliases, services: [service.key] };
  return encodeResource(service.key, typeUrls.address, AddressSchema, body, found);
}

/** Encodes a trust bundle, named by its trust domain. */
export function encodeTrustBundle(
  init: MessageInitShape<typeof TrustBundleSchema> & Pick<TrustBundle, 'trustDomain'>,
): EncodedResource {
  const body = create(TrustBundleSchema, init);
  return encodeResource(
    init.trustDomain,
    typeUrls.trustBundle,
    TrustBundleSchema,
    body,
    foundByName,
  );
}

/** Encodes what counts for the whole mesh. */
export function encodeMeshConfig(config: NamedMeshConfig): EncodedResource {
  const { name, capture = '', sameNode = '' } = config;
  const body = create(MeshConfigSchema, { capture, sameNode });
  return encodeResource(name, typeUrls.meshConfig, MeshConfigSchema, body, foundByName);
}

function encodeEach<T>(
  entries: ReadonlyMap<string, T | undefined>,
  encode: (value: T) => EncodedResource,
): ResourceChange {
  const changed: EncodedResource[] = [];
  const removed: string[] = [];
  for (const [name, value] of entries) {
    if (value === undefined) {
      removed.push(name);
    } else {
      changed.push(encode(value));
    }
  }
  return { changed, removed };
}

/** Encodes what changed of a snapshot, and nothing else. */
export function encodeChange(change: SnapshotChange, settings: EncodeSettings): MeshResourceChange {
  const services = encodeEach(change.services, encodeService);
  const workloads = encodeEach(change.workloads, (value) => encodeWorkload(value, settings));
  return {
    [typeUrls.address]: {
      changed: [...services.changed, ...workloads.changed],
      removed: [...services.removed, ...workloads.removed],
    },
    [typeUrls.authorization]: encodeEach(change.policies, encodePolicy),
  };
}
