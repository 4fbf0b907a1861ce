// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { mergeFiles } from '../../../src/registry/merge.ts';
import { type ParsedFile, parseManifests } from '../../../src/registry/yaml-file.ts';

const ns = 'apiVersion: v1\nkind: Namespace\nmetadata: {name: demo}\n';
const node = (name = 'a') => `apiVersion: v1\nkind: Node\nmetadata: {name: ${name}}\n`;
const account = 'apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web, namespace: demo}\n';
const pod = (name: string, ip: string, more = '') => `apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: demo}
spec: {nodeName: a${more}}
status: {podIP: ${ip}}
`;
const join = (...texts: string[]) => texts.join('---\n');

type Files = Record<string, { now: string; good?: string }>;

function merge(files: Files) {
  const versions = Object.entries(files).map(([name, { now, good }]) => {
    const current = parseManifests(name, now);
    const before =
      good === now ? current : good === undefined ? undefined : parseManifests(name, good);
    return [name, { current, good: before }] as [
      string,
      { current: ParsedFile; good: ParsedFile | undefined },
    ];
  });
  const merged = mergeFiles(new Map(versions));
  const errors = merged.problems.filter(({ severity }) => severity === 'error');
  return {
    pods: merged.objects.flatMap(({ object: { kind, value } }) =>
      kind === 'Pod' ? [value.name] : [],
    ),
    errors: errors.map(({ file, field, message }) => `${file} ${field}: ${message}`),
    agrees: merged.agrees,
  };
}

t.test('files that are right are all in force', async (t) => {
  const { pods, errors } = merge({
    'a.yaml': { now: join(ns, node()) },
    'b.yaml': { now: pod('x', '10.0.0.1') },
  });
  t.same(pods, ['x']);
  t.same(errors, []);
});

t.test('each reference that leads nowhere keeps its file out', async (t) => {
  const all = join(ns, node(), account);
  const web = pod('x', '10.0.0.1', ', serviceAccountName: web');
  t.same(merge({ 'a.yaml': { now: all }, 'b.yaml': { now: web } }).errors, []);
  const cases: [string, string, string][] = [
    [join(ns, node()), web, 'b.yaml spec.serviceAccountName: there is no ServiceAccount demo/web'],
    [join(ns, account), web, 'b.yaml spec.nodeName: there is no Node a'],
    [node(), pod('x', '10.0.0.1'), 'b.yaml metadata.namespace: there is no Namespace demo'],
  ];
  for (const [others, text, error] of cases) {
    const { pods, errors } = merge({ 'a.yaml': { now: others }, 'b.yaml': { now: text } });
    t.same(pods, []);
    t.same(errors, [error]);
  }
});

t.test('a whole file falls back to its last good version', async (t) => {
  const { pods } = merge({
    'a.yaml': { now: join(ns, node()) },
    'b.yaml': {
      now: join(pod('new', '10.0.0.2'), pod('bad', '10.0.0.3', ', serviceAccountName: no')),
      good: pod('old', '10.0.0.1'),
    },
  });
  t.same(pods, ['old']);
});

t.test('a mistake in one document takes the whole file back', async (t) => {
  const { pods } = merge({
    'a.yaml': { now: join(ns, node()) },
    'b.yaml': {
      now: join(pod('new', '10.0.0.2'), pod('bad', 'no address')),
      good: pod('old', '10.0.0.1'),
    },
    'c.yaml': { now: join(pod('first', '10.0.0.3'), pod('bad', 'no address')) },
  });
  t.same(pods, ['old']);
});

t.test('a file that leans on what another takes back falls back too', async (t) => {
  const { pods, errors } = merge({
    'a.yaml': { now: join(ns, node()) },
    'b.yaml': { now: `${account}oops: 1\n`, good: '' },
    'c.yaml': {
      now: pod('x', '10.0.0.2', ', serviceAccountName: web'),
      good: pod('x-before', '10.0.0.1'),
    },
  });
  t.same(pods, ['x-before']);
  t.same(errors, [
    'b.yaml oops: unknown field',
    'c.yaml spec.serviceAccountName: there is no ServiceAccount demo/web',
  ]);
});

t.test('what loses its target is left out, and the rest of its file stays', async (t) => {
  const text = join(pod('x', '10.0.0.1', ', serviceAccountName: web'), pod('y', '10.0.0.2'));
  const { pods, errors } = merge({
    'a.yaml': { now: join(ns, node()), good: join(ns, node(), account) },
    'b.yaml': { now: text, good: text },
  });
  t.same(pods, ['y']);
  t.equal(errors.length, 1);
});

t.test('of two that claim one name or one address the later is at fault', async (t) => {
  const base = { 'a.yaml': { now: join(ns, node()) } };
  t.match(
    merge({
      ...base,
      'b.yaml': { now: pod('x', '10.0.0.1') },
      'c.yaml': { now: pod('x', '10.0.0.2') },
    }),
    { pods: ['x'], errors: [/^c.yaml : the name of Pod demo\/x is taken .* b.yaml:1$/] },
  );
  t.match(
    merge({
      ...base,
      'b.yaml': { now: pod('x', '10.0.0.1') },
      'c.yaml': { now: pod('y', '10.0.0.1') },
    }),
    { pods: ['x'], errors: [/^c.yaml : one of its addresses is taken by Pod demo\/x/] },
  );
  t.match(
    merge({
      ...base,
      'b.yaml': { now: pod('x', '10.0.0.1', ', hostNetwork: true') },
      'c.yaml': { now: pod('y', '10.0.0.1', ', hostNetwork: true') },
    }),
    { pods: ['x', 'y'], errors: [] },
    'pods on the host network share its address',
  );
});

t.test('policies of the root namespace need no Namespace object', async (t) => {
  const policy = (namespace: string) => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: ${namespace}}
`;
  t.same(merge({ 'a.yaml': { now: policy('istio-system') } }).errors, []);
  t.equal(merge({ 'a.yaml': { now: policy('demo') } }).errors.length, 1);
});
