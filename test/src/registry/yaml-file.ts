// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import {
  documentsMax,
  fileBytesMax,
  nestingMax,
  parseManifests,
  problemsMax,
  toldMax,
} from '../../../src/registry/yaml-file.ts';

const complaints = (text: string) =>
  parseManifests('f.yaml', text).problems.map(
    ({ line, field, message }) => `${line} ${field}: ${message}`,
  );

const pod = `
apiVersion: v1
kind: Pod
metadata:
  name: x
  namespace: demo
spec:
  nodeName: a
`;

t.test('reads what kubectl prints of real objects', async (t) => {
  const text = `
apiVersion: v1
kind: Pod
metadata:
  creationTimestamp: "2026-01-01T00:00:00Z"
  generateName: web-
  labels: {app: web}
  name: web-1
  namespace: demo
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web, uid: "1"}]
  resourceVersion: "12"
  uid: 0b1d
spec:
  containers:
  - image: nginx
    name: nginx
    ports: [{containerPort: 8080, name: http, protocol: TCP}]
    resources: {limits: {cpu: "1"}}
    volumeMounts: [{mountPath: /x, name: v}]
  dnsPolicy: ClusterFirst
  enableServiceLinks: true
  nodeName: a
  restartPolicy: Always
  schedulerName: default-scheduler
  securityContext: {}
  serviceAccount: web
  serviceAccountName: web
  terminationGracePeriodSeconds: 30
  tolerations: [{effect: NoExecute, key: k, operator: Exists}]
  volumes: [{name: v, emptyDir: {}}]
status:
  conditions: [{type: Ready, status: "False"}]
  hostIP: 192.168.0.1
  phase: Running
  podIP: 10.0.0.1
  podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]
  qosClass: Burstable
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: demo}
spec:
  clusterIP: 10.96.0.1
  clusterIPs: [10.96.0.1, "fd00:96::1"]
  internalTrafficPolicy: Cluster
  ipFamilies: [IPv4, IPv6]
  ipFamilyPolicy: PreferDualStack
  ports:
  - {name: http-web, port: 80, protocol: TCP, targetPort: http}
  - {name: dns, port: 53, protocol: UDP, targetPort: 53}
  selector: {app: web}
  sessionAffinity: None
  type: ClusterIP
status: {loadBalancer: {}}
`;
  const { objects, problems } = parseManifests('f.yaml', text);
  t.same(problems, []);
  t.match(
    objects.map(({ object }) => object),
    [
      {
        kind: 'Pod',
        value: {
          name: 'web-1',
          node: 'a',
          serviceAccount: 'web',
          addresses: { length: 2 },
          ports: [{ name: 'http', port: 8080 }],
          ready: false,
          finished: false,
        },
      },
      {
        kind: 'Service',
        value: {
          addresses: { length: 2 },
          ports: [{ port: 80, target: 'http', appProtocol: 'http11' }],
          selector: { app: 'web' },
          distribution: 'any',
        },
      },
    ],
  );
});

t.test('fills in what Kubernetes fills in', async (t) => {
  const { objects } = parseManifests('f.yaml', pod.replace('  namespace: demo\n', ''));
  t.match(objects[0]?.object.value, {
    namespace: 'default',
    serviceAccount: 'default',
    hostNetwork: false,
    ready: true,
    addresses: [],
  });
});

t.test('a service without addresses, or without a selector', async (t) => {
  const text = `
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: None, ports: [{port: 80}]}
`;
  t.match(parseManifests('f.yaml', text).objects[0]?.object.value, {
    addresses: [],
    selector: undefined,
    ports: [{ port: 80, target: 80 }],
  });
});

t.test('says where each mistake is', async (t) => {
  t.same(complaints(`${pod}  nodename: b\n`), ['9 spec.nodename: unknown field']);
  t.same(complaints(pod.replace('  nodeName: a', '  hostNetwork: false')), [
    '7 spec.nodeName: missing',
  ]);
  t.match(complaints(pod.replace('nodeName: a', 'nodeName: A_b')), [/^8 spec.nodeName: not a Kub/]);
  t.match(complaints(pod.replace('namespace: demo', 'namespace: a.b')), [/^6 metadata.namespace/]);
  t.match(complaints(`${pod}status: {podIP: 10.0.0.300}\n`), [/^9 status.podIP: not an IP/]);
  t.match(complaints(pod.replace('v1', 'v2')), [/^3 kind: Pod of v2 is not a known kind/]);
  t.match(complaints('- a\n'), [/^1 : a manifest is a map/]);
  t.match(complaints('a: b: c\n'), [/^1 : not YAML/]);
  t.match(complaints('a: 1\na: 2\n'), [/^2 : not YAML/]);
});

t.test('one bad document does not hide the next one, good or bad', async (t) => {
  const { objects, problems } = parseManifests('f.yaml', `kind: X\n---${pod}---\nkind: Y\n`);
  t.equal(objects.length, 1);
  t.equal(objects[0]?.place.line, 3);
  t.same(
    problems.map(({ line }) => line),
    [1, 11],
  );
});

t.test('empty files and documents hold nothing and are no mistake', async (t) => {
  for (const text of ['', '\n', '# comment\n', '---\n---\n', 'null\n']) {
    const { objects, problems } = parseManifests('f.yaml', text);
    t.same({ objects, problems }, { objects: [], problems: [] });
  }
});

const policy = (spec: string) => `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: demo}
${spec}
`;

t.test('a policy without a spec, or without rules, is one that allows nothing', async (t) => {
  for (const spec of ['', 'spec: {}', 'spec: {action: ALLOW}', 'spec: {rules: []}']) {
    const { objects, problems } = parseManifests('f.yaml', policy(spec));
    t.same(problems, []);
    t.match(objects[0]?.object.value, { action: 'allow', rules: [], selector: undefined });
  }
});

t.test('a policy is refused rather than misread', async (t) => {
  const source = (text: string) => `spec: {rules: [{from: [{source: {${text}}}]}]}`;
  const cases: [string, RegExp][] = [
    ['spec: {action: AUDIT}', /spec.action: only ALLOW and DENY/],
    ['spec: {action: CUSTOM, provider: {name: x}}', /spec.action|spec.provider/],
    ['spec: {targetRefs: []}', /spec.targetRefs: .* not enforced at L4/],
    ['spec: {rule: []}', /spec.rule: unknown field/],
    ['spec: {rules: [{from: []}]}', /from: empty list/],
    ['spec: {rules: [{from: [{}]}]}', /source: missing/],
    [source(''), /source: a source needs/],
    [source('principals: []'), /principals: empty list/],
    [source('principal: [a]'), /principal: unknown field/],
    [source('principals: [a], serviceAccounts: [b]'), /cannot stand beside/],
    ['spec: {rules: [{to: [{operation: {ports: [80]}}]}]}', /ports\[0\]/],
    ['spec: {rules: [{when: [{key: source.ip}]}]}', /needs values or notValues/],
    ['spec: {selector: {app: web}}', /spec.selector/],
  ];
  for (const [spec, complaint] of cases) {
    const found = complaints(policy(spec));
    t.ok(
      found.some((text) => complaint.test(text)),
      `${spec}: ${found.join('; ')}`,
    );
    t.match(found[0], /^5 /, 'with its line');
  }
});

t.test('dry run comes from the annotation', async (t) => {
  const text = policy('').replace('{name: p', '{annotations: {istio.io/dry-run: "true"}, name: p');
  t.match(parseManifests('f.yaml', text).objects[0]?.object.value, { dryRun: true });
});

t.test('takes as many open brackets as the limit says, and not one more', async (t) => {
  const nested = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`;
  t.notMatch(complaints(nested(nestingMax)), [/brackets/]);
  t.match(complaints(nested(nestingMax + 1)), [/more than 256 brackets are open/]);
  t.match(complaints('['.repeat(3_000_000)), [/brackets/], 'at once, whatever its size');
});

t.test('tells so many problems of one file, and how many more there are', async (t) => {
  const wrong = (count: number) => 'just text\n---\n'.repeat(count);
  t.equal(complaints(wrong(problemsMax)).length, problemsMax);
  const over = complaints(wrong(problemsMax + 2));
  t.equal(over.length, problemsMax + 1);
  t.match(over.at(-1), /2 more problems in this file/);
});

t.test('holds its limits, and an alias bomb is a mistake like any other', async (t) => {
  t.match(complaints(' '.repeat(fileBytesMax + 1)), [/larger than/]);
  t.match(complaints('---\n'.repeat(documentsMax + 2)), [/over the limit/]);
  const bomb = ['a0: &a0 [x,x,x,x,x,x,x,x,x,x]'];
  for (let i = 1; i < 9; i += 1) {
    bomb.push(`a${i}: &a${i} [${`*a${i - 1},`.repeat(9)}*a${i - 1}]`);
  }
  t.match(complaints(bomb.join('\n')), [/alias/i]);
});

t.test('a list is as good as its items one by one', async (t) => {
  const text = `
apiVersion: v1
kind: List
metadata: {resourceVersion: ""}
items:
- apiVersion: v1
  kind: Node
  metadata: {name: a}
- apiVersion: v1
  kind: Node
  metadata: {name: b}
  spec: {}
`;
  const { objects, problems } = parseManifests('f.yaml', text);
  t.same(problems, []);
  t.match(objects, [
    { object: { value: { name: 'a' } }, place: { line: 6 } },
    { object: { value: { name: 'b' } }, place: { line: 9 } },
  ]);
  t.match(complaints(text.replace('name: b', 'name: B')), [/^11 items\[1\].metadata.name: not a/]);
  t.match(complaints(text.replace('items:', 'itmes:')), [/^\d+ items: not a list/]);
  t.match(complaints(`${text}more: 1\n`), [/^13 more: unknown field/]);
  t.match(complaints('{apiVersion: v1, kind: List, items: [1]}'), [/items\[0\]: a manifest is/]);
});

t.test('the next version of a file has the same objects where its text is the same', async (t) => {
  const node = (name: string) => `apiVersion: v1\nkind: Node\nmetadata: {name: ${name}}\n`;
  const first = parseManifests('f.yaml', `${node('a')}---\n${node('b')}---\n${node('c')}`);
  const text = `# more\n---\n${node('x')}---\n${node('b')}---\n${node('C')}---\n${node('c')}`;
  const second = parseManifests('f.yaml', text, first);
  const [a, b, c] = first.objects;
  t.equal(second.objects[1]?.object, b?.object);
  t.equal(second.objects[1]?.place.line, (b?.place.line ?? 0) + 2, 'at its new line');
  t.match(second.problems, [{ line: 13, field: 'metadata.name' }]);
  const fresh = parseManifests('f.yaml', text);
  t.same({ ...second, documents: 0 }, { ...fresh, documents: 0 });
  const third = parseManifests('f.yaml', `---\n${node('b')}---\n${node('b')}`, second);
  t.not(third.objects[0]?.object, third.objects[1]?.object, 'two of the same text are two objects');
  t.ok([a, c].every((each) => each !== undefined));
});

t.test('a text with directives or explicit ends is read in one piece', async (t) => {
  const node = 'apiVersion: v1\nkind: Node\nmetadata: {name: a}\n';
  const { objects, problems } = parseManifests(
    'f.yaml',
    `%YAML 1.2\n---\n${node}...\n---\n${node}`,
  );
  t.same(problems, []);
  t.same(
    objects.map(({ place }) => place.line),
    [3, 8],
  );
});

t.test(
  'keys that make one property are refused at their line, in each map of a file',
  async (t) => {
    t.strictSame(complaints(`${pod}  nodeName: b\n`), ['9 : not YAML: Map keys must be unique']);
    t.strictSame(complaints(`${pod}  labels: {1: a, "1": b}\n`), [
      '9 : not YAML: Map keys must be unique',
    ]);
    t.strictSame(complaints(`${pod}  a: [{b: 1}, {b: 1}]\n`), ['9 spec.a: unknown field']);
  },
);

t.test('a map as large as a file is read in its own time, not in the square of it', async (t) => {
  const labels = Array.from({ length: 100_000 }, (_, i) => `    k${i}: v\n`).join('');
  const began = performance.now();
  const found = complaints(`${pod}  labels:\n${labels}    k7: v\n`);
  // Time is the subject: each key compared with all before it takes 15 s and more.
  t.ok(performance.now() - began < 8_000);
  t.strictSame(found, ['100010 : not YAML: Map keys must be unique']);
});

t.test('a problem repeats no more of a file than a line holds', async (t) => {
  const long = 'k'.repeat(toldMax - 'spec.'.length);
  t.strictSame(complaints(`${pod}  ${long}: v\n`), [`9 spec.${long}: unknown field`]);
  t.strictSame(complaints(`${pod}  ${long}k: v\n`), [`9 spec.${long}…: unknown field`]);
});
