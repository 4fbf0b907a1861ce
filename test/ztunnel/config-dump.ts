// SPDX-License-Identifier: Apache-2.0
// The shape that istioctl reads: keys and spellings are the contract.
import { create } from '@bufbuild/protobuf';
import t from 'tap';
import { ConnectionEventSchema } from '../../native/gen/events_pb.js';
import {
  IpFamilies,
  Mode,
  Nearness,
  PolicyAction,
  PolicyScope,
  Protocol,
} from '../../native/gen/tables_pb.js';
import { Direction } from '../../native/index.ts';
import {
  dumpPods,
  dumpPolicy,
  dumpService,
  dumpWorkload,
  endpointsOf,
} from '../../ztunnel/config-dump.ts';
import type { TableWorkload } from '../../ztunnel/translate.ts';

const workload: TableWorkload = {
  ...{ uid: 'c//Pod/demo/web-1', name: 'web-1', namespace: 'demo', serviceAccount: 'web' },
  ...{ trustDomain: 'cluster.local', node: 'a', protocol: Protocol.HBONE, healthy: true },
  ...{ canonicalName: 'web', canonicalRevision: 'v1', workloadName: 'web', cluster: 'c' },
  ...{ workloadType: 'deployment', region: 'r', zone: 'z', subzone: '', network: '' },
  ...{ hostname: 'web-1.web', policies: ['demo/p'], hostNetwork: false },
  addresses: [Uint8Array.of(10, 0, 0, 1), new Uint8Array(16).fill(0xfd)],
  services: [{ service: 'demo/web.demo', ports: [{ servicePort: 80, targetPort: 8080 }] }],
};

t.test('a workload', (t) => {
  t.match(dumpWorkload(workload), {
    ...{ uid: 'c//Pod/demo/web-1', protocol: 'HBONE', status: 'Healthy', capacity: 1, node: 'a' },
    workloadIps: ['10.0.0.1', 'fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd'],
    ...{ workloadName: 'web', workloadType: 'deployment', clusterId: 'c', hostname: 'web-1.web' },
    ...{ canonicalName: 'web', canonicalRevision: 'v1', trustDomain: 'cluster.local' },
    ...{ locality: { region: 'r', zone: 'z' }, authorizationPolicies: ['demo/p'] },
  });
  const plain = { ...workload, protocol: Protocol.TCP, healthy: false, capacity: 0 };
  t.match(dumpWorkload(plain), { protocol: 'TCP', status: 'Unhealthy', capacity: 0 });
  t.end();
});

t.test('a service with its endpoints', (t) => {
  const endpoints = endpointsOf([workload]);
  const vip = { address: Uint8Array.of(10, 96, 0, 1), length: 32 };
  const range = { address: Uint8Array.of(10, 97, 0, 0), length: 16 };
  const service = {
    ...{ key: 'demo/web.demo', name: 'web', namespace: 'demo', hostname: 'web.demo' },
    ...{ ports: [{ servicePort: 80, targetPort: 8080 }], ipFamilies: IpFamilies.FAMILIES_DUAL },
    addresses: [
      { range: vip, network: '' },
      { range, network: 'far' },
    ],
    loadBalancing: {
      ...{ mode: Mode.FAILOVER, allowUnhealthy: true },
      preference: [Nearness.NEAR_NETWORK, Nearness.NEAR_ZONE],
    },
  };
  t.match(dumpService(service, endpoints.get(service.key) ?? {}), {
    ...{ vips: ['/10.96.0.1', 'far/10.97.0.0/16'], ports: { 80: 8080 }, ipFamilies: 'Dual' },
    loadBalancer: {
      ...{ mode: 'Failover', healthPolicy: 'AllowAll', routingPreferences: ['Network', 'Zone'] },
    },
    endpoints: {
      'c//Pod/demo/web-1': { workloadUid: 'c//Pod/demo/web-1', port: { 80: 8080 } },
    },
  });
  t.end();
});

t.test('a policy: rules, clauses and matches are lists in lists', (t) => {
  const exact = { match: { case: 'exact' as const, value: 'cluster.local/ns/a/sa/b' } };
  const any = { match: { case: 'presence' as const, value: true } };
  const cidr = { address: Uint8Array.of(10, 0, 0, 0), length: 8 };
  const match = { principals: [exact], notPrincipals: [any], sourceIps: [cidr] };
  const policy = {
    ...{ key: 'demo/deny', namespace: 'demo', scope: PolicyScope.SCOPE_WORKLOAD, dryRun: true },
    action: PolicyAction.ACTION_DENY,
    rules: [{ clauses: [{ matches: [{ ...match, destinationPorts: [80] }] }] }],
  };
  t.same(JSON.parse(JSON.stringify(dumpPolicy(policy))), {
    ...{ name: 'deny', namespace: 'demo', scope: 'WorkloadSelector', action: 'Deny' },
    dryRun: true,
    rules: [
      [
        [
          {
            principals: [{ Exact: 'cluster.local/ns/a/sa/b' }],
            notPrincipals: [{ Presence: {} }],
            ...{ sourceIps: ['10.0.0.0/8'], destinationPorts: [80] },
          },
        ],
      ],
    ],
  });
  t.end();
});

t.test('pods with what they have open', (t) => {
  const connection = create(ConnectionEventSchema, {
    ...{ podUid: 'u1', direction: Direction.OUTBOUND, sourceAddress: '10.0.0.1:1' },
    ...{ destinationAddress: '10.96.0.1:80', tunnelAddress: '10.0.0.2:15008', mutualTls: true },
  });
  const claim = { name: 'web-1', namespace: 'demo', serviceAccount: 'web' };
  const spiffeId = 'spiffe://cluster.local/ns/demo/sa/web';
  const pods = [
    { uid: 'u1', claim, spiffeId, running: true },
    { uid: 'u2', claim, spiffeId: '', running: false },
  ];
  const ways = { src: '10.0.0.1:1', originalDst: '10.96.0.1:80', actualDst: '10.0.0.2:15008' };
  t.same(dumpPods(pods, [connection]), {
    u1: {
      state: 'Up',
      connections: { inbound: [], outbound: [{ ...ways, protocol: 'HBONE' }] },
      info: { ...claim, trustDomain: 'cluster.local' },
    },
    u2: {
      state: 'Pending',
      connections: { inbound: [], outbound: [] },
      info: { ...claim, trustDomain: '' },
    },
  });
  t.end();
});
