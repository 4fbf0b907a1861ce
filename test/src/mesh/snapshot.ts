// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import type { MeshObjects, Pod, Policy, Service } from '../../../src/mesh/objects.ts';
import { buildSnapshot, isEnrolled, meshDefaults, selects } from '../../../src/mesh/snapshot.ts';

const pod = (more: Partial<Pod> = {}): Pod => ({
  namespace: 'demo',
  name: 'x',
  labels: { app: 'web' },
  node: 'a',
  serviceAccount: 'web',
  hostNetwork: false,
  addresses: [Uint8Array.of(10, 0, 0, 1)],
  ports: [{ name: 'http', port: 8080 }],
  finished: false,
  ready: true,
  ...more,
});

const service = (more: Partial<Service> = {}): Service => ({
  namespace: 'demo',
  name: 'web',
  addresses: [],
  ports: [{ port: 80, target: 'http' }],
  selector: { app: 'web' },
  distribution: 'any',
  allowNotReady: false,
  ...more,
});

const policy = (more: Partial<Policy> = {}): Policy => ({
  namespace: 'demo',
  name: 'p',
  selector: { app: 'web' },
  action: 'allow',
  rules: [],
  dryRun: false,
  ...more,
});

const build = (objects: Partial<MeshObjects>) =>
  buildSnapshot(
    {
      namespaces: [{ name: 'demo', labels: { 'istio.io/dataplane-mode': 'ambient' } }],
      nodes: [{ name: 'a', labels: { 'topology.kubernetes.io/region': 'r' } }],
      serviceAccounts: [],
      pods: [],
      services: [],
      policies: [],
      ...objects,
    },
    meshDefaults,
  );

const only = (objects: Partial<MeshObjects>) => {
  const [first, ...rest] = build(objects).workloads.values();
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

t.test('a selector needs all its labels, and an empty one selects all', async (t) => {
  t.equal(selects({}, {}), true);
  t.equal(selects({ a: '1' }, { a: '1', b: '2' }), true);
  t.equal(selects({ a: '1', b: '2' }, { a: '1' }), false);
  t.equal(selects({ a: '1' }, { a: '2' }), false);
});

t.test('a workload carries its names, place and identity', async (t) => {
  t.match(only({ pods: [pod()] }), {
    uid: 'Kubernetes//Pod/demo/x',
    enrolled: true,
    trustDomain: 'cluster.local',
    canonicalName: 'web',
    canonicalRevision: 'latest',
    locality: { region: 'r', zone: '', subzone: '' },
  });
  const labels = { 'service.istio.io/canonical-name': 'c', app: 'web', version: 'v2' };
  t.match(only({ pods: [pod({ labels })] }), { canonicalName: 'c', canonicalRevision: 'v2' });
  t.equal(only({ pods: [pod({ labels: {} })] }).canonicalName, 'x');
});

t.test('pods without an address and pods that ended are no workloads', async (t) => {
  t.equal(build({ pods: [pod({ addresses: [] })] }).workloads.size, 0);
  t.equal(build({ pods: [pod({ finished: true })] }).workloads.size, 0);
});

t.test('a pod serves what selects it, at its own port', async (t) => {
  const key = 'demo/web.demo.svc.cluster.local';
  const ports = (workload: ReturnType<typeof only>) => Object.fromEntries(workload.services);
  const services = [
    service(),
    service({ namespace: 'other' }),
    service({ name: 'no', selector: { a: 'b' } }),
  ];
  t.same(ports(only({ pods: [pod()], services })), { [key]: [{ port: 80, target: 8080 }] });
  t.same(
    ports(only({ pods: [pod({ ports: [] })], services })),
    { [key]: [{ port: 80, target: 0 }] },
    'a port name that the pod does not have is not served',
  );
  t.same(ports(only({ pods: [pod()], services: [service({ selector: undefined })] })), {});
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
  const snapshot = build({ pods: [pod()], policies });
  t.same([...snapshot.workloads.values()][0]?.policies, ['demo/p', 'istio-system/selected']);
  const scopes = Object.fromEntries([...snapshot.policies].map(([key, { scope }]) => [key, scope]));
  t.same(scopes, {
    'demo/p': 'selector',
    'demo/no-match': 'selector',
    'demo/everywhere': 'namespace',
    'other/elsewhere': 'selector',
    'istio-system/mesh': 'global',
    'istio-system/selected': 'selector',
  });
});

t.test('a placement is of enrolled pods, on their node, with their account', async (t) => {
  const snapshot = build({
    pods: [
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
