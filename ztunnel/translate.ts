// SPDX-License-Identifier: Apache-2.0
// From the wire's Address (WDS) to the engine's workloads and services.
import type { MessageInitShape } from '@bufbuild/protobuf';
import type {
  PortMapSchema,
  ServiceSchema,
  WorkloadSchema as TableWorkloadSchema,
} from '../native/gen/tables_pb.js';
import { Protocol } from '../native/gen/tables_pb.js';
import { MeshError, type Result } from '../src/lib/error.ts';
import { formatSpiffeId, parseSpiffeId, workloadSpiffeId } from '../src/spiffe/id.ts';
import {
  type Address,
  NetworkMode,
  type Port,
  type Service,
  TunnelProtocol,
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

/** One parsed Address. `elsewhere`: it stands in another network, which is not routed to yet. */
export type ParsedAddress =
  | { readonly kind: 'workload'; readonly workload: TableWorkload }
  | { readonly kind: 'service'; readonly service: TableService }
  | { readonly kind: 'elsewhere' };

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
  // Traffic must never go round a waypoint, or reach an application past its tunnel.
  check(wire.waypoint === undefined, 'waypoints are not supported by this version');
  check(wire.applicationTunnel === undefined, 'application tunnels are not supported');
  check(
    wire.status === WorkloadStatus.HEALTHY || wire.status === WorkloadStatus.UNHEALTHY,
    `status ${wire.status} is not known to this version`,
  );
}

function checkIdentity(workload: TableWorkload): void {
  const id = parseSpiffeId(spiffeIdOf(workload));
  check(id.ok, 'trust domain, namespace and service account make no SPIFFE ID');
}

function workloadOf(wire: Workload): TableWorkload {
  checkWorkload(wire);
  const protocol = protocols.get(wire.tunnelProtocol);
  if (protocol === undefined) {
    throw new MeshError('invalid', `tunnel protocol ${wire.tunnelProtocol} is not supported`);
  }
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
    hostNetwork: wire.networkMode === NetworkMode.HOST_NETWORK,
  };
  checkIdentity(workload);
  return workload;
}

function serviceOf(wire: Service): TableService {
  checkName(wire.hostname, 'service hostname');
  checkName(wire.namespace, 'service namespace');
  check(
    wire.waypoint === undefined && wire.weightedWaypoints.length === 0,
    'waypoints are not supported by this version',
  );
  const own = wire.addresses.filter((address) => address.network === '');
  for (const { address, length } of own) {
    checkAddress(address);
    check(
      length === undefined || length === address.length * 8,
      'a service on a range of addresses is not supported',
    );
  }
  return {
    key: `${wire.namespace}/${wire.hostname}`,
    name: wire.name,
    namespace: wire.namespace,
    hostname: wire.hostname,
    addresses: own.map(({ address }) => address),
    ports: portsOf(wire.ports),
    subjectAltNames: wire.subjectAltNames,
  };
}

function addressOf(name: string, wire: Address): ParsedAddress {
  if (wire.type.case === 'workload') {
    check(wire.type.value.uid === name, 'the resource name is not the workload uid');
    return wire.type.value.network === ''
      ? { kind: 'workload', workload: workloadOf(wire.type.value) }
      : { kind: 'elsewhere' };
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
