// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { meshDefaults } from '../../../src/mesh/snapshot.ts';
import { buildSnapshot } from '../../../src/mesh/snapshot-builder.ts';
import { isEnrolled } from '../../../src/mesh/workloads.ts';
import { type Listed, meshOf, pod, policy, service } from '../../support/mesh-objects.ts';

const build = (listed: Listed) => buildSnapshot(meshOf(listed), meshDefaults);

const only = (listed: Listed) => {
  const [first, ...rest] = build(listed).workloads.values();
  if (first === undefined || rest.length > 0) {
    throw new Error('not one workload');
  }
  return first;
};

const mode = (value: string) => ({ 'istio.io/dataplane-mode': value });

t.test('enrolment: the label of the pod wins over that of its namespace', async (t) => {
  const cases: [object, object, boolean][] = [
    [{}, {}, false],
    [{}, mode('ambient'), true],
    [mode('ambient'), {}, true],
    [mode('none'), mode('ambient'), false],
    [mode('ambient'), mode('none'), true],
    [{}, mode('sidecar'), false],
  ];
  for (const [labels, namespace, enrolled] of cases) {
    t.equal(isEnrolled(pod({ labels: { ...labels } }), { ...namespace }), enrolled);
  }
  t.equal(isEnrolled(pod({ hostNetwork: true }), mode('ambient')), false, 'host network');
});

t.test('a workload carries its names, place and identity', async (t) => {
  t.match(only({ Pod: [pod()] }), {
    uid: 'Kubernetes//Pod/demo/x',
    enrolled: true,
    canonicalName: 'web',
    canonicalRevision: 'latest',
    locality: { region: 'r', zone: '', subzone: '' },
  });
  const labels = { 'service.istio.io/canonical-name': 'c', app: 'web', version: 'v2' };
  t.match(only({ Pod: [pod({ labels })] }), { canonicalName: 'c', canonicalRevision: 'v2' });
  t.equal(only({ Pod: [pod({ labels: {} })] }).canonicalName, 'x');
});

t.test('pods without an address and pods that ended are no workloads', async (t) => {
  t.equal(build({ Pod: [pod({ addresses: [] })] }).workloads.size, 0);
  t.equal(build({ Pod: [pod({ finished: true })] }).workloads.size, 0);
});

t.test('a pod serves what selects it, at its own port', async (t) => {
  const key = 'demo/web.demo.svc.cluster.local';
  const ports = (workload: ReturnType<typeof only>) => Object.fromEntries(workload.services);
  const services = [
    service(),
    service({ namespace: 'other' }),
    service({ name: 'no', selector: { a: 'b' } }),
  ];
  t.same(ports(only({ Pod: [pod()], Service: services })), { [key]: [{ port: 80, target: 8080 }] });
  t.same(
    ports(only({ Pod: [pod({ ports: [] })], Service: services })),
    { [key]: [{ port: 80, target: 0 }] },
    'a port name that the pod does not have is not served',
  );
  t.same(ports(only({ Pod: [pod()], Service: [service({ selector: undefined })] })), {});
});

t.test('a policy reaches its selection, its namespace, or all', async (t) => {
  const policies = [
    policy(),
    policy({ name: 'no-match', selector: { app: 'other' } }),
    policy({ name: 'everywhere', selector: undefined }),
    policy({ namespace: 'other', name: 'elsewhere' }),
    policy({ namespace: 'istio-system', name: 'mesh', selector: undefined }),
    policy({ namespace: 'istio-system', name: 'selected' }),
  ];
  const snapshot = build({ Pod: [pod()], AuthorizationPolicy: policies });
  t.same([...snapshot.workloads.values()][0]?.policies, ['demo/p', 'istio-system/selected']);
  const scopes = Object.fromEntries([...snapshot.policies].map(([key, { scope }]) => [key, scope]));
  t.same(scopes, {
    'demo/p': 'selector',
    'demo/no-match': 'selector',
    'demo/everywhere': 'namespace',
    'other/elsewhere': 'selector',
    'istio-system/mesh': 'global',
    'istio-system/selected': 'selector',
    'istio-system/istio_converted_static_strict': 'selector',
  });
});

t.test('a placement is of enrolled pods, on their node, with their account', async (t) => {
  const snapshot = build({
    Pod: [
      pod(),
      pod({ name: 'plain', serviceAccount: 'plain', labels: mode('none') }),
      pod({ name: 'done', serviceAccount: 'done', finished: true }),
    ],
  });
  t.equal(snapshot.places('a', 'demo', 'web'), true);
  t.equal(snapshot.places('b', 'demo', 'web'), false);
  t.equal(snapshot.places('a', 'other', 'web'), false);
  t.equal(snapshot.places('a', 'demo', 'other'), false);
  t.equal(snapshot.places('a', 'demo', 'plain'), false, 'not enrolled');
  t.equal(snapshot.places('a', 'demo', 'done'), false, 'ended');
  t.equal(snapshot.places('a/demo', 'web', ''), false);
});
