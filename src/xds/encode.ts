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
import type {
  AppProtocol as MeshAppProtocol,
  PolicyMatch,
  StringMatch,
  TrafficDistribution,
} from '../mesh/objects.ts';
import type { NamedService, ScopedPolicy, Snapshot, Workload } from '../mesh/snapshot.ts';
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
  NetworkMode,
  type PortSchema,
  type ServiceSchema,
  TunnelProtocol,
  type WorkloadSchema,
  WorkloadStatus,
  WorkloadType,
} from './gen/workload_pb.js';
import { type TrustBundle, TrustBundleSchema, type TypeUrl, typeUrls } from './wire.ts';

/** One resource, encoded once and shared by every stream. */
export interface EncodedResource {
  readonly name: string;
  /** Hash of the body: equal bodies have equal versions, across restarts too. */
  readonly version: string;
  /** The bytes of a whole Resource message. */
  readonly bytes: Uint8Array;
  /** A policy that binds only the workloads that name it. */
  readonly boundByName: boolean;
}

/** All resources of one type, by name. Immutable. */
export type ResourceSet = ReadonlyMap<string, EncodedResource>;

/** All resources that a snapshot of the mesh gives. */
export type EncodedSnapshot = Readonly<
  Record<typeof typeUrls.address | typeof typeUrls.authorization, ResourceSet>
>;

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

function encodeResource<T extends DescMessage>(
  name: string,
  typeUrl: TypeUrl,
  schema: T,
  body: MessageShape<T>,
  boundByName: boolean,
): EncodedResource {
  const value = toBinary(schema, body);
  const version = createHash('sha256').update(value).digest('hex').slice(0, versionCharacters);
  const resource = create(ResourceSchema, { name, version, resource: { typeUrl, value } });
  return { name, version, bytes: toBinary(ResourceSchema, resource), boundByName };
}

function workloadInit(workload: Workload): MessageInitShape<typeof WorkloadSchema> {
  const { pod, services } = workload;
  const entries = [...services].map(([key, ports]): [string, { ports: PortInit[] }] => [
    key,
    { ports: ports.map(({ port, target }) => ({ servicePort: port, targetPort: target })) },
  ]);
  return {
    uid: workload.uid,
    name: pod.name,
    namespace: pod.namespace,
    addresses: [...pod.addresses],
    tunnelProtocol: workload.enrolled ? TunnelProtocol.HBONE : TunnelProtocol.NONE,
    trustDomain: workload.trustDomain,
    serviceAccount: pod.serviceAccount,
    node: pod.node,
    canonicalName: workload.canonicalName,
    canonicalRevision: workload.canonicalRevision,
    workloadType: WorkloadType.POD,
    workloadName: pod.name,
    services: Object.fromEntries(entries),
    authorizationPolicies: [...workload.policies],
    status: pod.ready ? WorkloadStatus.HEALTHY : WorkloadStatus.UNHEALTHY,
    clusterId: workload.clusterId,
    networkMode: pod.hostNetwork ? NetworkMode.HOST_NETWORK : NetworkMode.STANDARD,
    ...(Object.values(workload.locality).every((part) => part === '')
      ? {}
      : { locality: workload.locality }),
  };
}

type PortInit = MessageInitShape<typeof PortSchema>;

function familiesOf(addresses: readonly Uint8Array[]): IPFamilies {
  const v4 = addresses.some(({ length }) => length === 4);
  const v6 = addresses.some(({ length }) => length === 16);
  if (v4 && v6) {
    return IPFamilies.DUAL;
  }
  return v4 ? IPFamilies.IPV4_ONLY : v6 ? IPFamilies.IPV6_ONLY : IPFamilies.AUTOMATIC;
}

function serviceInit({ hostname, service }: NamedService): MessageInitShape<typeof ServiceSchema> {
  const loadBalancing = {
    ...distributions[service.distribution],
    healthPolicy: service.allowNotReady ? HealthPolicy.ALLOW_ALL : HealthPolicy.ONLY_HEALTHY,
  };
  return {
    name: service.name,
    namespace: service.namespace,
    hostname,
    addresses: service.addresses.map((address) => ({ address })),
    ports: service.ports.map(({ port, target, appProtocol }) => ({
      servicePort: port,
      // A named target differs from pod to pod: each endpoint says its own.
      targetPort: typeof target === 'number' ? target : 0,
      appProtocol: appProtocol === undefined ? AppProtocol.UNKNOWN : appProtocols[appProtocol],
    })),
    ipFamilies: familiesOf(service.addresses),
    canonical: true,
    loadBalancing,
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
  const boundByName = scope === 'selector';
  return encodeResource(key, typeUrls.authorization, AuthorizationSchema, body, boundByName);
}

/** Encodes a workload as an `istio.workload.Address`. */
export function encodeWorkload(workload: Workload): EncodedResource {
  const body = create(AddressSchema, { type: { case: 'workload', value: workloadInit(workload) } });
  return encodeResource(workload.uid, typeUrls.address, AddressSchema, body, false);
}

/** Encodes a service as an `istio.workload.Address`. */
export function encodeService(service: NamedService): EncodedResource {
  const body = create(AddressSchema, { type: { case: 'service', value: serviceInit(service) } });
  return encodeResource(service.key, typeUrls.address, AddressSchema, body, false);
}

/** Encodes a trust bundle, named by its trust domain. */
export function encodeTrustBundle(
  init: MessageInitShape<typeof TrustBundleSchema> & Pick<TrustBundle, 'trustDomain'>,
): EncodedResource {
  const body = create(TrustBundleSchema, init);
  return encodeResource(init.trustDomain, typeUrls.trustBundle, TrustBundleSchema, body, false);
}

function setOf(resources: readonly EncodedResource[], previous: ResourceSet): ResourceSet {
  return new Map(
    resources.map((resource) => {
      const before = previous.get(resource.name);
      const kept = before?.version === resource.version ? before : resource;
      return [resource.name, kept];
    }),
  );
}

const nothing: ResourceSet = new Map();

/**
 * Encodes a snapshot. A resource that `previous` has with the same bytes is taken from there, so
 * that a small change among many resources holds little memory twice.
 */
export function encodeSnapshot(snapshot: Snapshot, previous?: EncodedSnapshot): EncodedSnapshot {
  const addresses = [
    ...[...snapshot.services.values()].map(encodeService),
    ...[...snapshot.workloads.values()].map(encodeWorkload),
  ];
  const policies = [...snapshot.policies.values()].map(encodePolicy);
  return {
    [typeUrls.address]: setOf(addresses, previous?.[typeUrls.address] ?? nothing),
    [typeUrls.authorization]: setOf(policies, previous?.[typeUrls.authorization] ?? nothing),
  };
}
