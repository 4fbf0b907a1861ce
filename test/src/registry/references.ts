// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { crossCheck } from '../../../src/registry/references.ts';
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

const complaints = (objects: readonly PlacedObject[]) =>
  crossCheck(objects).map(({ problem: { field, message } }) => `${field}: ${message}`);

t.test('what leads somewhere is fine, in any order', async (t) => {
  const account = line('ServiceAccount', 'name: web, namespace: demo');
  const text = pod('x', ', serviceAccountName: web') + service('web') + account + base;
  t.same(complaints(placed(text)), []);
});

t.test('a reference that leads nowhere is the fault of who refers', async (t) => {
  const [alone] = placed(pod('x', ', serviceAccountName: web'));
  if (alone === undefined) {
    throw new Error('no pod');
  }
  const found = crossCheck([alone]);
  t.same(
    found.map(({ problem }) => problem),
    [
      ['metadata.namespace', 'there is no Namespace demo'],
      ['spec.nodeName', 'there is no Node a'],
      ['spec.serviceAccountName', 'there is no ServiceAccount demo/web'],
    ].map(([field, message]) => ({ severity: 'error', file: 'f.yaml', line: 1, field, message })),
  );
  t.ok(found.every(({ object }) => object === alone));
});

t.test('an account of another namespace does not count', async (t) => {
  const other =
    line('Namespace', 'name: other') + line('ServiceAccount', 'name: web, namespace: other');
  t.match(complaints(placed(base + other + pod('x', ', serviceAccountName: web'))), [
    /no ServiceAccount demo\/web/,
  ]);
});

t.test('the default account and the root namespace need not be there', async (t) => {
  const policy =
    '{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: p, namespace: istio-system}}';
  t.same(complaints(placed(`${base}${pod('x')}${policy}`)), []);
});

t.test('of two that claim one name the later is at fault, and told of the first', async (t) => {
  const first = placed(base + pod('x'), 'a.yaml');
  const second = placed(pod('x'), 'b.yaml');
  t.same(complaints([...first, ...second]), [
    ': the name of Pod demo/x is taken by Pod demo/x at a.yaml:5',
  ]);
  t.same(crossCheck([...first, ...second])[0]?.object, second[0]);
  t.same(complaints(placed(base + pod('x') + service('x'))), [], 'of two kinds');
});

t.test('an address belongs to one pod or service', async (t) => {
  const ip = 'podIP: 10.0.0.1';
  t.match(complaints(placed(base + pod('x', '', ip) + pod('y', '', ip))), [
    /one of its addresses is taken by Pod demo\/x/,
  ]);
  t.match(complaints(placed(base + pod('x', '', ip) + service('s', 'clusterIP: 10.0.0.1'))), [
    /taken by Pod demo\/x/,
  ]);
  for (const ended of ['Succeeded', 'Failed']) {
    t.same(
      complaints(placed(base + pod('x', '', `${ip}, phase: ${ended}`) + pod('y', '', ip))),
      [],
    );
  }
  const host = pod('x', ', hostNetwork: true', ip);
  t.same(complaints(placed(base + host + pod('y', ', hostNetwork: true', ip))), []);
});

const istio = (kind: string, group: string, metadata: string, spec: string) =>
  `{apiVersion: ${group}.istio.io/v1, kind: ${kind}, metadata: {${metadata}}, spec: {${spec}}}\n---\n`;

t.test('endpoints belong to a service that is there', async (t) => {
  const slice =
    '{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {name: e, namespace: demo, labels: {kubernetes.io/service-name: web}}}\n---\n';
  t.same(complaints(placed(base + service('web') + slice)), []);
  t.same(complaints(placed(base + slice)), [
    'metadata.labels.kubernetes.io/service-name: there is no Service demo/web',
  ]);
});

t.test('a hostname belongs to one service of a namespace', async (t) => {
  const entry = (name: string, host: string) =>
    istio('ServiceEntry', 'networking', `name: ${name}, namespace: demo`, `hosts: [${host}]`);
  const twice = base + entry('a', 'x.example.com') + entry('b', 'x.example.com');
  t.match(complaints(placed(twice)), [/the name of host demo\/x.example.com is taken by/]);
  const platform = base + service('web') + entry('a', 'web.demo.svc.cluster.local');
  t.match(complaints(placed(platform)), [/taken by Service demo\/web/]);
});
