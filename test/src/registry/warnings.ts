// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { warningsOf } from '../../../src/registry/warnings.ts';
import { type PlacedObject, parseManifests } from '../../../src/registry/yaml-file.ts';

function placed(text: string, file = 'f.yaml'): PlacedObject[] {
  const { objects, problems } = parseManifests(file, text);
  if (problems.length > 0) {
    throw new Error(problems.map(({ message }) => message).join());
  }
  return [...objects];
}

const line = (kind: string, metadata: string, rest = '') =>
  `{apiVersion: v1, kind: ${kind}, metadata: {${metadata}}${rest}}\n---\n`;

const base = line('Namespace', 'name: demo') + line('Node', 'name: a');

const pod = (name: string, spec = '', status = '') =>
  line(
    'Pod',
    `name: ${name}, namespace: demo, labels: {app: x}`,
    `, spec: {nodeName: a${spec}}, status: {${status}}`,
  );

const service = (name: string, spec = '') =>
  line('Service', `name: ${name}, namespace: demo`, `, spec: {${spec}}`);

const istio = (kind: string, group: string, metadata: string, spec: string) =>
  `{apiVersion: ${group}.istio.io/v1, kind: ${kind}, metadata: {${metadata}}, spec: {${spec}}}\n---\n`;

const texts = (text: string) =>
  warningsOf(placed(text)).map(({ field, message }) => `${field}: ${message}`);

t.test('a selector that matches no pod of its namespace is a warning', async (t) => {
  const other =
    line('Namespace', 'name: other') +
    line('Service', 'name: far, namespace: other', ', spec: {selector: {app: x}}');
  const text = base + pod('x') + service('good', 'selector: {app: x}') + service('none') + other;
  t.match(warningsOf(placed(text)), [
    { severity: 'warning', field: 'spec.selector', message: 'selects no pod' },
  ]);
  t.equal(warningsOf(placed(text)).length, 1);
  t.equal(warningsOf(placed(base + service('bad', 'selector: {app: y}'))).length, 1);
});

t.test('so is that of a policy, of peers, and of a service entry', async (t) => {
  const at = 'name: s, namespace: demo';
  const labels = (app: string) => `selector: {matchLabels: {app: ${app}}}`;
  const policy = (app: string) => istio('AuthorizationPolicy', 'security', at, labels(app));
  const peers = (app: string) => istio('PeerAuthentication', 'security', at, labels(app));
  const entry = (app: string) =>
    istio(
      'ServiceEntry',
      'networking',
      at,
      `hosts: [a.b], resolution: STATIC, workloadSelector: {labels: {app: ${app}}}`,
    );
  t.same(texts(base + pod('p') + policy('x') + peers('x') + entry('x')), []);
  t.same(texts(base + pod('p') + policy('y') + peers('y') + entry('y')), [
    'spec.selector: selects no pod',
    'spec.selector: selects no pod',
    'spec.workloadSelector: selects no pod',
  ]);
  const vm = istio('WorkloadEntry', 'networking', at, 'address: 192.0.2.1, labels: {app: y}');
  t.same(texts(base + policy('y') + vm), [], 'a workload entry can be selected');
  const root = istio(
    'AuthorizationPolicy',
    'security',
    'name: r, namespace: istio-system',
    labels('x'),
  );
  t.same(texts(base + pod('p') + root), [], 'the root namespace selects everywhere');
});

t.test('a pod of the host network that is to be enrolled is told that it is not', async (t) => {
  const enrolled = line('Namespace', 'name: demo, labels: {istio.io/dataplane-mode: ambient}');
  const node = line('Node', 'name: a');
  t.match(texts(enrolled + node + pod('p', ', hostNetwork: true')), [/never enrolled/]);
  t.same(texts(base + pod('p', ', hostNetwork: true')), []);
});

t.test('of two PeerAuthentications for the same workloads it is said which counts', async (t) => {
  const peers = (name: string) =>
    istio('PeerAuthentication', 'security', `name: ${name}, namespace: demo`, '');
  t.same(texts(base + peers('b') + peers('a')), [
    ': a is for the same workloads and counts instead',
  ]);
});

t.test('an endpoint that is no pod is named', async (t) => {
  const slice =
    '{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {name: e, namespace: demo, labels: {kubernetes.io/service-name: web}}, endpoints: [{addresses: [10.0.0.1], targetRef: {kind: Pod, name: p}}]}\n---\n';
  t.same(texts(base + service('web') + slice), ['endpoints[0].targetRef: there is no Pod p']);
});
