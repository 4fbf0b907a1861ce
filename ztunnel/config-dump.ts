// SPDX-License-Identifier: Apache-2.0
// The proxy's state in the JSON shape of Istio's ztunnel, which istioctl and others read.
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { CidrSchema, PolicyMatchSchema, StringMatchSchema } from '../native/gen/tables_pb.js';
import {
  IpFamilies,
  Mode,
  Nearness,
  PolicyAction,
  PolicyScope,
  Protocol,
} from '../native/gen/tables_pb.js';
import { type ConnectionEvent, Direction } from '../native/index.ts';
import { formatIp } from '../src/lib/ip.ts';
import type { PodEntry } from './pods.ts';
import type { TableService, TableWorkload } from './translate.ts';
import type { TablePolicy } from './translate-policy.ts';

type Json = Readonly<Record<string, unknown>>;

const modes: Readonly<Record<Mode, string>> = {
  [Mode.ANY]: 'Standard',
  [Mode.STRICT]: 'Strict',
  [Mode.FAILOVER]: 'Failover',
  [Mode.PASSTHROUGH]: 'Passthrough',
};
const scopesOfNearness: Readonly<Record<Nearness, string>> = {
  [Nearness.NEAR_UNSPECIFIED]: 'Unspecified',
  [Nearness.NEAR_REGION]: 'Region',
  [Nearness.NEAR_ZONE]: 'Zone',
  [Nearness.NEAR_SUBZONE]: 'Subzone',
  [Nearness.NEAR_NODE]: 'Node',
  [Nearness.NEAR_CLUSTER]: 'Cluster',
  [Nearness.NEAR_NETWORK]: 'Network',
};
const families: Readonly<Record<IpFamilies, string>> = {
  [IpFamilies.FAMILIES_AUTOMATIC]: '',
  [IpFamilies.FAMILIES_IPV4]: 'IPv4',
  [IpFamilies.FAMILIES_IPV6]: 'IPv6',
  [IpFamilies.FAMILIES_DUAL]: 'Dual',
};
const policyScopes: Readonly<Record<PolicyScope, string>> = {
  [PolicyScope.SCOPE_GLOBAL]: 'Global',
  [PolicyScope.SCOPE_NAMESPACE]: 'Namespace',
  [PolicyScope.SCOPE_WORKLOAD]: 'WorkloadSelector',
};

type Ports = readonly { readonly servicePort?: number; readonly targetPort?: number }[];

function portsOf(ports: Ports | undefined): Json {
  return Object.fromEntries((ports ?? []).map((port) => [port.servicePort ?? 0, port.targetPort]));
}

function cidrText(range: MessageInitShape<typeof CidrSchema>): string {
  const address = range.address ?? new Uint8Array();
  const text = formatIp(address);
  return range.length === 8 * address.length ? text : `${text}/${range.length ?? 0}`;
}

/** One workload. */
export function dumpWorkload(workload: TableWorkload): Json {
  const { uid, name, namespace, serviceAccount, trustDomain, node } = workload;
  const { canonicalName, canonicalRevision, workloadName, workloadType } = workload;
  const { region, zone, subzone, network, hostname, policies } = workload;
  return {
    ...{ uid, workloadIps: (workload.addresses ?? []).map(formatIp), network, node, hostname },
    ...{ name, namespace, trustDomain, serviceAccount, workloadName, workloadType },
    ...{ canonicalName, canonicalRevision, clusterId: workload.cluster },
    protocol: workload.protocol === Protocol.HBONE ? 'HBONE' : 'TCP',
    locality: { region, zone, subzone },
    status: workload.healthy === true ? 'Healthy' : 'Unhealthy',
    capacity: workload.capacity ?? 1,
    networkMode: workload.hostNetwork === true ? 'HostNetwork' : 'Standard',
    authorizationPolicies: policies,
    services: (workload.services ?? []).map(({ service }) => service),
  };
}

function loadBalancerOf({ loadBalancing }: TableService): Json {
  return {
    mode: modes[loadBalancing?.mode ?? Mode.ANY],
    routingPreferences: (loadBalancing?.preference ?? []).map((each) => scopesOfNearness[each]),
    healthPolicy: loadBalancing?.allowUnhealthy === true ? 'AllowAll' : 'OnlyHealthy',
  };
}

/** One service with its endpoints. */
export function dumpService(service: TableService, endpoints: Json): Json {
  const { name, namespace, hostname, subjectAltNames, canonical } = service;
  return {
    ...{ name, namespace, hostname, subjectAltNames, canonical, endpoints },
    vips: (service.addresses ?? []).map(({ network, range }) => {
      return `${network ?? ''}/${cidrText(range ?? {})}`;
    }),
    ports: portsOf(service.ports),
    loadBalancer: loadBalancerOf(service),
    ipFamilies: families[service.ipFamilies ?? IpFamilies.FAMILIES_AUTOMATIC],
  };
}

/** The endpoints of each service, by the service's key and the workload's uid. */
export function endpointsOf(workloads: Iterable<TableWorkload>): Map<string, Record<string, Json>> {
  const found = new Map<string, Record<string, Json>>();
  for (const { uid, healthy, services } of workloads) {
    for (const { service = '', ports } of services ?? []) {
      const own = found.get(service) ?? {};
      const status = healthy === true ? 'Healthy' : 'Unhealthy';
      own[uid] = { workloadUid: uid, service, port: portsOf(ports), status };
      found.set(service, own);
    }
  }
  return found;
}

function stringMatch({ match }: MessageInitShape<typeof StringMatchSchema>): Json {
  switch (match?.case) {
    case 'exact':
      return { Exact: match.value };
    case 'prefix':
      return { Prefix: match.value };
    case 'suffix':
      return { Suffix: match.value };
    default:
      return { Presence: {} };
  }
}

const some = <T, U>(list: readonly T[] | undefined, show: (item: T) => U): U[] | undefined =>
  list === undefined || list.length === 0 ? undefined : list.map(show);

function dumpMatch(match: MessageInitShape<typeof PolicyMatchSchema>): Json {
  const account = (each: { namespace?: string; name?: string }): Json => ({
    namespace: each.namespace,
    serviceAccount: each.name,
  });
  return {
    namespaces: some(match.namespaces, stringMatch),
    notNamespaces: some(match.notNamespaces, stringMatch),
    principals: some(match.principals, stringMatch),
    notPrincipals: some(match.notPrincipals, stringMatch),
    sourceIps: some(match.sourceIps, cidrText),
    notSourceIps: some(match.notSourceIps, cidrText),
    destinationIps: some(match.destinationIps, cidrText),
    notDestinationIps: some(match.notDestinationIps, cidrText),
    destinationPorts: some(match.destinationPorts, Number),
    notDestinationPorts: some(match.notDestinationPorts, Number),
    serviceAccounts: some(match.serviceAccounts, account),
    notServiceAccounts: some(match.notServiceAccounts, account),
  };
}

/** One policy. */
export function dumpPolicy(policy: TablePolicy): Json {
  const { key = '', namespace = '' } = policy;
  return {
    name: key.slice(key.indexOf('/') + 1),
    namespace,
    scope: policyScopes[policy.scope ?? PolicyScope.SCOPE_GLOBAL],
    action: policy.action === PolicyAction.ACTION_DENY ? 'Deny' : 'Allow',
    dryRun: policy.dryRun ?? false,
    rules: (policy.rules ?? []).map(({ clauses }) =>
      (clauses ?? []).map(({ matches }) => (matches ?? []).map(dumpMatch)),
    ),
  };
}

function dumpConnection(connection: ConnectionEvent): Json {
  const { sourceAddress, destinationAddress, tunnelAddress, mutualTls } = connection;
  return {
    src: sourceAddress,
    originalDst: destinationAddress,
    actualDst: tunnelAddress || destinationAddress,
    protocol: mutualTls ? 'HBONE' : 'TCP',
  };
}

/** The pods of this node by uid, each with what it has open. */
export function dumpPods(
  pods: readonly PodEntry[],
  connections: readonly ConnectionEvent[],
): Record<string, Json> {
  const byPod = Map.groupBy(connections, ({ podUid }) => podUid);
  return Object.fromEntries(
    pods.map(({ uid, claim, running, spiffeId }) => {
      const own = byPod.get(uid) ?? [];
      const of = (wanted: Direction): Json[] =>
        own.filter(({ direction }) => direction === wanted).map(dumpConnection);
      const trustDomain = /^spiffe:\/\/([^/]+)/.exec(spiffeId)?.[1] ?? '';
      return [
        uid,
        {
          state: running ? 'Up' : 'Pending',
          connections: { inbound: of(Direction.INBOUND), outbound: of(Direction.OUTBOUND) },
          info: { ...claim, trustDomain },
        },
      ];
    }),
  );
}
