// SPDX-License-Identifier: Apache-2.0
// What native/index.ts makes of an explanation; whether it is right is tested in C++.
import t from 'tap';
import { Engine, PolicyAction, PolicyScope, Protocol } from '../../../native/index.ts';

const namespace = 'demo';
const base = {
  namespace,
  trustDomain: 'td',
  protocol: Protocol.HBONE,
  healthy: true,
};
const service = 'demo/web.demo.svc.cluster.local';
const ports = [{ servicePort: 80, targetPort: 8080 }];

const engine = new Engine({ workers: 1, outboundPolicy: 'registryOnly' }, () => undefined);
t.teardown(() => engine.stop());
engine.apply({
  workloads: [
    { ...base, uid: 'c', serviceAccount: 'client', addresses: [Uint8Array.of(10, 0, 0, 1)] },
    {
      ...base,
      uid: 's',
      serviceAccount: 'server',
      addresses: [Uint8Array.of(10, 0, 0, 2)],
      services: [{ service, ports }],
    },
  ],
  services: [
    {
      key: service,
      namespace,
      addresses: [{ range: { address: Uint8Array.of(10, 96, 0, 1), length: 32 } }],
    },
  ],
  policies: [
    {
      key: 'demo/deny-ports',
      namespace,
      scope: PolicyScope.SCOPE_NAMESPACE,
      action: PolicyAction.ACTION_DENY,
      rules: [{ clauses: [{ matches: [{ destinationPorts: [9090] }] }] }],
    },
  ],
  policiesReceived: true,
});

t.test('a tunnel to an endpoint of a service, with the verdict there', async (t) => {
  t.same(engine.explain({ source: 'c', destination: '10.96.0.1', port: 80 }), {
    path: 'tunnel',
    why: 'the destination workload is enrolled',
    captured: true,
    sourceIdentity: 'spiffe://td/ns/demo/sa/client',
    service,
    endpoints: [
      {
        path: 'tunnel',
        why: 'the destination workload is enrolled',
        target: '10.0.0.2:8080',
        workload: 's',
        tunnel: '10.0.0.2:15008',
        expectedIdentities: ['spiffe://td/ns/demo/sa/server'],
        verdict: {
          allowed: true,
          policy: '',
          rule: -1,
          reason: 'no allow policy holds for the workload',
        },
      },
    ],
    endpointsTotal: 1,
  });
});

t.test('a denial names the policy and the rule', async (t) => {
  const { endpoints } = engine.explain({ source: 'c', destination: '10.0.0.2', port: 9090 });
  t.match(endpoints, [{ verdict: { allowed: false, policy: 'demo/deny-ports', rule: 0 } }]);
});

t.test('a refusal has no target', async (t) => {
  const { path, endpoints } = engine.explain({ source: 'c', destination: '192.0.2.1', port: 443 });
  t.equal(path, 'refused');
  t.same(endpoints, [
    { path: 'refused', why: 'the destination is not in the mesh', expectedIdentities: [] },
  ]);
});

t.test('says what is wrong with a question', async (t) => {
  for (const query of [
    { source: 'nobody', destination: '10.0.0.2', port: 80 },
    { source: 'c', destination: 'web', port: 80 },
    { source: 'c', destination: '10.0.0.2', port: 0 },
    { source: 'c', destination: '10.0.0.2', port: 65_536 },
  ]) {
    t.throws(() => engine.explain(query), { code: 'invalid' });
  }
});

t.test('an outbound policy of another name is refused', async (t) => {
  t.throws(() => new Engine({ outboundPolicy: 'open' as 'allowAny' }, () => undefined), {
    code: 'invalid',
  });
});
