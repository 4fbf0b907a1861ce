// SPDX-License-Identifier: Apache-2.0
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import t from 'tap';
import { Protocol } from '../../native/gen/tables_pb.js';
import {
  type Address,
  AddressSchema,
  NetworkMode,
  type ServiceSchema,
  TunnelProtocol,
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
  t.equal(spiffeIdOf(table), 'spiffe://cluster.local/ns/demo/sa/default');
});

t.test('a service keeps addresses of this network, ports and names', async (t) => {
  const wire = service({
    addresses: [{ address: ip }, { network: 'other', address: ip }],
    ports: [
      { servicePort: 80, targetPort: 8080 },
      { servicePort: 81, targetPort: 0 },
    ],
    subjectAltNames: ['spiffe://cluster.local/ns/demo/sa/server'],
  });
  t.match(parseTableAddress(serviceName, wire), {
    ok: true,
    value: {
      kind: 'service',
      service: {
        key: serviceName,
        name: 'web',
        addresses: [ip],
        ports: [{ servicePort: 80, targetPort: 8080 }],
        subjectAltNames: ['spiffe://cluster.local/ns/demo/sa/server'],
      },
    },
  });
});

t.test('a workload of another network is told apart, not refused', async (t) => {
  const parsed = parseTableAddress(uid, workload({ network: 'other' }));
  t.same(parsed, { ok: true, value: { kind: 'elsewhere' } });
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
  ['a waypoint on a workload', uid, workload({ waypoint: {} }), /waypoints/],
  ['an application tunnel', uid, workload({ applicationTunnel: {} }), /application tunnels/],
  ['names that make no SPIFFE ID', uid, workload({ serviceAccount: 'a/b c' }), /SPIFFE ID/],
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
  ['a waypoint on a service', serviceName, service({ waypoint: {} }), /waypoints/],
  [
    'a weighted waypoint',
    serviceName,
    service({ weightedWaypoints: [{ weight: 1 }] }),
    /waypoints/,
  ],
  [
    'a service on a range',
    serviceName,
    service({ addresses: [{ address: ip, length: 24 }] }),
    /range/,
  ],
];

for (const [what, name, wire, message] of refused) {
  t.test(`refuses ${what}`, async (t) => {
    const parsed = parseTableAddress(name, wire);
    t.equal(parsed.ok, false);
    t.match(parsed, { error: { code: 'invalid', message } });
  });
}
