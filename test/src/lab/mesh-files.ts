// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { readPods } from '../../../src/lab/mesh-files.ts';

const namespace = (mode: string): string =>
  `{kind: Namespace, metadata: {name: demo, labels: {istio.io/dataplane-mode: ${mode}}}}`;
const pod = (more = '', spec = ''): string =>
  `{kind: Pod, metadata: {name: one, namespace: demo${more}}, spec: {nodeName: node-a${spec}}, status: {podIPs: [{ip: 10.0.0.1}]}}`;

t.test('pods are read from all YAML files and documents of a folder', async (t) => {
  const folder = t.testdir({
    'a.yaml': `${namespace('ambient')}\n---\n${pod()}\n`,
    'b.yml': pod(', uid: u-2', ', serviceAccountName: web').replace('name: one', 'name: two'),
    'c.txt': 'not: [yaml',
  });
  t.match(readPods(folder), [
    { name: 'one', uid: 'demo/one', serviceAccount: 'default', addresses: ['10.0.0.1'] },
    { name: 'two', uid: 'u-2', serviceAccount: 'web', node: 'node-a' },
  ]);
});

t.test('a pod is in the mesh by its label, or else by its namespace', async (t) => {
  const enrolled = (mode: string, more = '', spec = ''): boolean | undefined => {
    const folder = t.testdir({ 'a.yaml': `${pod(more, spec)}\n---\n${namespace(mode)}\n` });
    return readPods(folder)[0]?.enrolled;
  };
  t.equal(enrolled('ambient'), true);
  t.equal(enrolled('none'), false);
  t.equal(enrolled('ambient', ', labels: {istio.io/dataplane-mode: none}'), false);
  t.equal(enrolled('none', ', labels: {istio.io/dataplane-mode: ambient}'), true);
  t.equal(enrolled('ambient', '', ', hostNetwork: true'), false);
});

t.test('what annotations of a pod and of its namespace say is told apart', async (t) => {
  const bypass = (own: string, above: string) => {
    const words = (value: string): string => `, annotations: {weft.dev/bypass: ${value}}`;
    const named = namespace('ambient').replace('name: demo', `name: demo${words(above)}`);
    const folder = t.testdir({ 'a.yaml': `${pod(own && words(own))}\n---\n${named}\n` });
    const [read] = readPods(folder);
    return [read?.settings.bypass, read?.ofNamespace.bypass];
  };
  t.same(bypass('', 'sockmap'), [undefined, 'sockmap']);
  t.same(bypass('none', 'sockmap'), ['none', 'sockmap']);
});

t.test('a container is its command, its arguments and its ports', async (t) => {
  const containers =
    ', containers: [{name: c, command: [a], args: [b], ports: [{containerPort: 80}]}]';
  const folder = t.testdir({ 'a.yaml': pod('', containers) });
  t.same(readPods(folder)[0]?.containers, [{ name: 'c', command: ['a', 'b'], ports: [80] }]);
});

t.test('YAML that is broken is refused with its file', async (t) => {
  const broken = t.testdir({ 'bad.yaml': 'kind: [Pod' });
  t.throws(() => readPods(broken), { code: 'invalid', message: 'bad.yaml' });
  const shapeless = t.testdir({ 'odd.yaml': '{kind: Pod, metadata: {name: one}}' });
  t.throws(() => readPods(shapeless), { code: 'invalid', message: 'odd.yaml' });
});
