// SPDX-License-Identifier: Apache-2.0
// From the wire's Address (WDS) to the engine's workloads and services.
import type { MessageInitShape } from '@bufbuild/protobuf';
import type {
  LoadBalancingSchema,
  PortMapSchema,
  ServiceSchema,
  WorkloadSchema as TableWorkloadSchema,
  VipSchema,
} from '../native/gen/tables_pb.js';
import {
  Visibility as Audience,
  IpFamilies,
  Mode,
  Nearness,
  Protocol,
} from '../native/gen/tables_pb.js';
import { MeshError, type Result } from '../src/lib/error.ts';
import {
  formatSpiffeId,
  workloadOf as namesIn,
  parseSpiffeId,
  workloadSpiffeId,
} from '../src/spiffe/id.ts';
import {
  type Address,
  HealthPolicy,
  IPFamilies,
  type LoadBalancing,
  LoadBalancingMode,
  LoadBalancingScope,
  type NetworkAddress,
  NetworkMode,
  type Port,
  type Service,
  TunnelProtocol,
  Visibility,
  type Workload,
  WorkloadStatus,
  WorkloadType,
} from '../src/xds/wire.ts';
import { check, checkAddress, checkName, checkPort } from './field-checks.ts';

/** A workload in the engine's shape, with the fields the proxy itself reads. */
export type TableWorkload = MessageInitShape<typeof TableWorkloadSchema> & {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly trustDomain: string;
  readonly node: string;
};

/** A service in the engine's shape. */
export type TableService = MessageInitShape<typeof ServiceSchema> & { readonly key: string };

/** One parsed Address. */
export type ParsedAddress =
  | { readonly kind: 'workload'; readonly workload: TableWorkload }
  | { readonly kind: 'service'; readonly service: TableService };

const protocols: ReadonlyMap<number, Protocol> = new Map([
  [TunnelProtocol.NONE, Protocol.TCP],
  [TunnelProtocol.HBONE, Protocol.HBONE],
]);

const workloadTypes: ReadonlyMap<number, string> = new Map([
  [WorkloadType.DEPLOYMENT, 'deployment'],
  [WorkloadType.CRONJOB, 'cronjob'],
  [WorkloadType.POD, 'pod'],
  [WorkloadType.JOB, 'job'],
]);

/** Whether it is the host's. */
const networkModes: ReadonlyMap<number, boolean> = new Map([
  [NetworkMode.STANDARD, false],
  [NetworkMode.HOST_NETWORK, true],
]);

const nearnesses: ReadonlyMap<number, Nearness> = new Map([
  [LoadBalancingScope.REGION, Nearness.NEAR_REGION],
  [LoadBalancingScope.ZONE, Nearness.NEAR_ZONE],
  [LoadBalancingScope.SUBZONE, Nearness.NEAR_SUBZONE],
  [LoadBalancingScope.NODE, Nearness.NEAR_NODE],
  [LoadBalancingScope.CLUSTER, Nearness.NEAR_CLUSTER],
  [LoadBalancingScope.NETWORK, Nearness.NEAR_NETWORK],
]);

const modes: ReadonlyMap<number, Mode> = new Map([
  [LoadBalancingMode.UNSPECIFIED_MODE, Mode.ANY],
  [LoadBalancingMode.STRICT, Mode.STRICT],
  [LoadBalancingMode.FAILOVER, Mode.FAILOVER],
  [LoadBalancingMode.PASSTHROUGH, Mode.PASSTHROUGH],
]);

const healthPolicies: ReadonlyMap<number, boolean> = new Map([
  [HealthPolicy.ONLY_HEALTHY, false],
  [HealthPolicy.ALLOW_ALL, true],
]);

const audiences: ReadonlyMap<number, Audience> = new Map([
  [Visibility.PUBLIC, Audience.PUBLIC],
  [Visibility.NAMESPACE, Audience.NAMESPACE],
]);

const families: ReadonlyMap<number, IpFamilies> = new Map([
  [IPFamilies.AUTOMATIC, IpFamilies.FAMILIES_AUTOMATIC],
  [IPFamilies.IPV4_ONLY, IpFamilies.FAMILIES_IPV4],
  [IPFamilies.IPV6_ONLY, IpFamilies.FAMILIES_IPV6],
  [IPFamilies.DUAL, IpFamilies.FAMILIES_DUAL],
]);

// What is not known is refused: to guess could send traffic where it must not go.
function known<T>(table: ReadonlyMap<number, T>, value: number, what: string): T {
  const found = table.get(value);
  if (found === undefined) {
    throw new MeshError('invalid', `${what} ${value} is not known to this version`);
  }
  return found;
}

/** The SPIFFE ID of a workload. */
export function spiffeIdOf(workload: TableWorkload): string {
  return formatSpiffeId(workloadSpiffeId(workload.trustDomain, workload));
}

// A target of 0 says that this endpoint does not serve the port; it must then not be picked.
function portsOf(ports: readonly Port[]): MessageInitShape<typeof PortMapSchema>[] {
  const served = ports.filter((port) => port.targetPort !== 0);
  for (const port of served) {
    checkPort(port.servicePort);
    checkPort(port.targetPort);
  }
  return served.map(({ servicePort, targetPort }) => ({ servicePort, targetPort }));
}

function checkWorkload(wire: Workload): void {
  checkName(wire.uid, 'workload uid');
  checkName(wire.name, 'workload name');
  checkName(wire.namespace, 'workload namespace');
  wire.addresses.forEach(checkAddress);
  // Traffic must never reach an application past its tunnel.
  check(wire.applicationTunnel === undefined, 'application tunnels are not supported');
  check(
    wire.status === WorkloadStatus.HEALTHY || wire.status === WorkloadStatus.UNHEALTHY,
    `status ${wire.status} is not known to this version`,
  );
}

// A slash in one of the names could make the identity of another workload.
function checkIdentity(workload: TableWorkload): void {
  const { trustDomain, namespace, serviceAccount } = workload;
  const id = parseSpiffeId(spiffeIdOf(workload));
  const names = id.ok ? namesIn(id.value) : undefined;
  check(
    id.ok &&
      id.value.trustDomain === trustDomain.toLowerCase() &&
      names?.namespace === namespace &&
      names.serviceAccount === serviceAccount,
    'trust domain, namespace and service account make no SPIFFE ID',
  );
}

function workloadOf(wire: Workload): TableWorkload {
  checkWorkload(wire);
  const protocol = known(protocols, wire.tunnelProtocol, 'tunnel protocol');
  const workload: TableWorkload = {
    uid: wire.uid,
    name: wire.name,
    namespace: wire.namespace,
    serviceAccount: wire.serviceAccount || 'default',
    trustDomain: wire.trustDomain || 'cluster.local',
    addresses: wire.addresses,
    node: wire.node,
    protocol,
    policies: wire.authorizationPolicies,
    services: Object.entries(wire.services).map(([service, list]) => ({
      service,
      ports: portsOf(list.ports),
    })),
    healthy: wire.status === WorkloadStatus.HEALTHY,
    canonicalName: wire.canonicalName,
    canonicalRevision: wire.canonicalRevision,
    workloadName: wire.workloadName,
    workloadType: workloadTypes.get(wire.workloadType) ?? 'pod',
    cluster: wire.clusterId || 'Kubernetes',
    hostNetwork: known(networkModes, wire.networkMode, 'network mode'),
    region: wire.locality?.region ?? '',
    zone: wire.locality?.zone ?? '',
    subzone: wire.locality?.subzone ?? '',
    network: wire.network,
    capacity: wire.capacity ?? 1,
    // Traffic must never go round a waypoint, so the tables know of it and refuse.
    waypoint: wire.waypoint !== undefined,
    hostname: wire.hostname,
  };
  checkIdentity(workload);
  return workload;
}

function vipOf({ network, address, length }: NetworkAddress): MessageInitShape<typeof VipSchema> {
  checkAddress(address);
  const bits = length ?? address.length * 8;
  check(bits <= address.length * 8, `prefix length ${bits} is too long`);
  return { network, range: { address, length: bits } };
}

function balancingOf(wire: LoadBalancing): MessageInitShape<typeof LoadBalancingSchema> {
  return {
    mode: known(modes, wire.mode, 'load balancing mode'),
    preference: wire.routingPreference.map((scope) => known(nearnesses, scope, 'routing scope')),
    allowUnhealthy: known(healthPolicies, wire.healthPolicy, 'health policy'),
  };
}

function serviceOf(wire: Service): TableService {
  checkName(wire.hostname, 'service hostname');
  checkName(wire.namespace, 'service namespace');
  return {
    key: `${wire.namespace}/${wire.hostname}`,
    name: wire.name,
    namespace: wire.namespace,
    hostname: wire.hostname,
    addresses: wire.addresses.map(vipOf),
    ports: portsOf(wire.ports),
    subjectAltNames: wire.subjectAltNames,
    ...(wire.loadBalancing === undefined ? {} : { loadBalancing: balancingOf(wire.loadBalancing) }),
    visibility: known(audiences, wire.visibility, 'visibility'),
    ipFamilies: known(families, wire.ipFamilies, 'IP families'),
    canonical: wire.canonical,
    waypoint: wire.waypoint !== undefined || wire.weightedWaypoints.length > 0,
  };
}

function addressOf(name: string, wire: Address): ParsedAddress {
  if (wire.type.case === 'workload') {
    check(wire.type.value.uid === name, 'the resource name is not the workload uid');
    return { kind: 'workload', workload: workloadOf(wire.type.value) };
  }
  if (wire.type.case === 'service') {
    const service = serviceOf(wire.type.value);
    check(service.key === name, 'the resource name is not the service namespace/hostname');
    return { kind: 'service', service };
  }
  throw new MeshError('invalid', 'neither a workload nor a service');
}

/** Parses one Address resource called `name`; the error says what in it cannot be held. */
export function parseTableAddress(name: string, wire: Address): Result<ParsedAddress> {
  try {
    return { ok: true, value: addressOf(name, wire) };
  } catch (error) {
    return { ok: false, error: MeshError.from(error) };
  }
}
