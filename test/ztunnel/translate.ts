// SPDX-License-Identifier: Apache-2.0
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import t from 'tap';
import {
  IpFamilies,
  Mode,
  Nearness,
  Protocol,
  Visibility as TableVisibility,
} from '../../native/gen/tables_pb.js';
import {
  type Address,
  AddressSchema,
  HealthPolicy,
  IPFamilies,
  LoadBalancingMode,
  LoadBalancingScope,
  NetworkMode,
  type ServiceSchema,
  TunnelProtocol,
  Visibility,
  type WorkloadSchema,
  WorkloadStatus,
  WorkloadType,
} from '../../src/xds/wire.ts';
import { parseTableAddress, spiffeIdOf } from '../../ztunnel/translate.ts';

const ip = new Uint8Array([10, 0, 0, 1]);
const uid = 'Kubernetes//Pod/demo/client';

function workload(change: MessageInitShape<typeof WorkloadSchema> = {}): Address {
  const value = { uid, name: 'client', namespace: 'demo', addresses: [ip], ...change };
  return create(AddressSchema, { type: { case: 'workload', value } });
}

function service(change: MessageInitShape<typeof ServiceSchema> = {}): Address {
  const value = {
    name: 'web',
    namespace: 'demo',
    hostname: 'web.demo.svc.cluster.local',
    ...change,
  };
  return create(AddressSchema, { type: { case: 'service', value } });
}

const serviceName = 'demo/web.demo.svc.cluster.local';

t.test('a workload keeps all that the tables hold', async (t) => {
  const wire = workload({
    node: 'a',
    tunnelProtocol: TunnelProtocol.HBONE,
    trustDomain: 'example.org',
    serviceAccount: 'client',
    authorizationPolicies: ['demo/p'],
    services: { [serviceName]: { ports: [{ servicePort: 80, targetPort: 8080 }] } },
    status: WorkloadStatus.UNHEALTHY,
    canonicalName: 'client',
    canonicalRevision: 'v1',
    workloadName: 'client-deployment',
    workloadType: WorkloadType.JOB,
    clusterId: 'east',
    networkMode: NetworkMode.HOST_NETWORK,
    locality: { region: 'eu', zone: 'eu-1', subzone: 'rack' },
    network: 'west',
    capacity: 3,
    waypoint: {},
    hostname: 'client-0.client.demo.svc.cluster.local',
  });
  const parsed = parseTableAddress(uid, wire);
  t.match(parsed, {
    ok: true,
    value: {
      kind: 'workload',
      workload: {
        uid,
        name: 'client',
        namespace: 'demo',
        serviceAccount: 'client',
        trustDomain: 'example.org',
        addresses: [ip],
        node: 'a',
        protocol: Protocol.HBONE,
        policies: ['demo/p'],
        services: [{ service: serviceName, ports: [{ servicePort: 80, targetPort: 8080 }] }],
        healthy: false,
        canonicalName: 'client',
        canonicalRevision: 'v1',
        workloadName: 'client-deployment',
        workloadType: 'job',
        cluster: 'east',
        hostNetwork: true,
        region: 'eu',
        zone: 'eu-1',
        subzone: 'rack',
        network: 'west',
        capacity: 3,
        waypoint: true,
        hostname: 'client-0.client.demo.svc.cluster.local',
      },
    },
  });
});

t.test('what Istio leaves empty has its defaults', async (t) => {
  const parsed = parseTableAddress(uid, workload());
  if (!parsed.ok || parsed.value.kind !== 'workload') {
    throw new Error('not parsed');
  }
  const { workload: table } = parsed.value;
  t.match(table, { serviceAccount: 'default', trustDomain: 'cluster.local', healthy: true });
  t.match(table, { protocol: Protocol.TCP, cluster: 'Kubernetes', hostNetwork: false });
  t.match(table, { region: '', network: '', capacity: 1, waypoint: false, hostname: '' });
  t.equal(spiffeIdOf(table), 'spiffe://cluster.local/ns/demo/sa/default');
});

t.test('a service keeps addresses, ports, names and how it is balanced', async (t) => {
  const wire = service({
    addresses: [{ address: ip }, { network: 'other', address: ip, length: 24 }],
    ports: [
      { servicePort: 80, targetPort: 8080 },
      { servicePort: 81, targetPort: 0 },
    ],
    subjectAltNames: ['spiffe://cluster.local/ns/demo/sa/server'],
    loadBalancing: {
      mode: LoadBalancingMode.FAILOVER,
      routingPreference: [LoadBalancingScope.NETWORK, LoadBalancingScope.ZONE],
      healthPolicy: HealthPolicy.ALLOW_ALL,
    },
    visibility: Visibility.NAMESPACE,
    ipFamilies: IPFamilies.IPV6_ONLY,
    canonical: true,
  });
  t.match(parseTableAddress(serviceName, wire), {
    ok: true,
    value: {
      kind: 'service',
      service: {
        key: serviceName,
        name: 'web',
        addresses: [
          { network: '', range: { address: ip, length: 32 } },
          { network: 'other', range: { address: ip, length: 24 } },
        ],
        ports: [{ servicePort: 80, targetPort: 8080 }],
        subjectAltNames: ['spiffe://cluster.local/ns/demo/sa/server'],
        loadBalancing: {
          mode: Mode.FAILOVER,
          preference: [Nearness.NEAR_NETWORK, Nearness.NEAR_ZONE],
          allowUnhealthy: true,
        },
        visibility: TableVisibility.NAMESPACE,
        ipFamilies: IpFamilies.FAMILIES_IPV6,
        canonical: true,
        waypoint: false,
      },
    },
  });
});

t.test('a waypoint is passed on, so that nothing goes round it', async (t) => {
  for (const wire of [service({ waypoint: {} }), service({ weightedWaypoints: [{ weight: 1 }] })]) {
    t.match(parseTableAddress(serviceName, wire), {
      ok: true,
      value: { service: { waypoint: true } },
    });
  }
});

const refused: readonly [string, string, Address, RegExp][] = [
  ['no workload and no service', uid, create(AddressSchema, {}), /neither/],
  ['a workload under another name', 'x', workload(), /not the workload uid/],
  ['a service under another name', 'demo/x', service(), /not the service/],
  ['a workload without a name', uid, workload({ name: '' }), /name is missing/],
  ['an address of 5 bytes', uid, workload({ addresses: [new Uint8Array(5)] }), /5 bytes/],
  [
    'the tunnel of sidecars',
    uid,
    workload({ tunnelProtocol: TunnelProtocol.LEGACY_ISTIO_MTLS }),
    /tunnel protocol 2/,
  ],
  ['an unknown tunnel', uid, workload({ tunnelProtocol: 9 as TunnelProtocol }), /protocol 9/],
  ['an unknown status', uid, workload({ status: 9 as WorkloadStatus }), /status 9/],
  ['an application tunnel', uid, workload({ applicationTunnel: {} }), /application tunnels/],
  ['names that make no SPIFFE ID', uid, workload({ serviceAccount: 'a/b c' }), /SPIFFE ID/],
  ['a namespace with a slash', uid, workload({ namespace: 'demo/sa/x' }), /make no SPIFFE ID/],
  ['an account with a slash', uid, workload({ serviceAccount: 'x/sa/y' }), /make no SPIFFE ID/],
  ['a domain with a slash', uid, workload({ trustDomain: 'td/ns/x/sa' }), /make no SPIFFE ID/],
  ['an unknown network mode', uid, workload({ networkMode: 9 as NetworkMode }), /network mode 9/],
  [
    'a port over 65535',
    uid,
    workload({ services: { x: { ports: [{ servicePort: 70_000, targetPort: 1 }] } } }),
    /port 70000/,
  ],
  [
    'a service port 0',
    serviceName,
    service({ ports: [{ servicePort: 0, targetPort: 80 }] }),
    /port 0/,
  ],
  [
    'a range longer than its address',
    serviceName,
    service({ addresses: [{ address: ip, length: 33 }] }),
    /prefix length 33/,
  ],
  [
    'an unknown load balancing mode',
    serviceName,
    service({ loadBalancing: { mode: 9 as LoadBalancingMode } }),
    /load balancing mode 9/,
  ],
  [
    'a routing scope of no kind',
    serviceName,
    service({ loadBalancing: { routingPreference: [LoadBalancingScope.UNSPECIFIED_SCOPE] } }),
    /routing scope 0/,
  ],
  [
    'an unknown health policy',
    serviceName,
    service({ loadBalancing: { healthPolicy: 9 as HealthPolicy } }),
    /health policy 9/,
  ],
  ['an unknown visibility', serviceName, service({ visibility: 9 as Visibility }), /visibility 9/],
  ['unknown families', serviceName, service({ ipFamilies: 9 as IPFamilies }), /families 9/],
];

for (const [what, name, wire, message] of refused) {
  t.test(`refuses ${what}`, async (t) => {
    const parsed = parseTableAddress(name, wire);
    t.equal(parsed.ok, false);
    t.match(parsed, { error: { code: 'invalid', message } });
  });
}
