// SPDX-License-Identifier: Apache-2.0
// The YAML around the manifests, and the lines of complaints, are tested with yaml-file.
import t from 'tap';
import { kubernetesReaders } from '../../../src/registry/kubernetes.ts';

function read(kind: string, rest: Record<string, unknown>) {
  const apiVersion = 'v1';
  const reader = kubernetesReaders[`v1/${kind}`];
  if (reader === undefined) {
    throw new Error(`no reader of ${kind}`);
  }
  return reader({ apiVersion, kind, metadata: { name: 'x', namespace: 'demo' }, ...rest });
}

/** The value of a manifest that is read without complaint. */
function readValue(kind: string, rest: Record<string, unknown>): unknown {
  const result = read(kind, rest);
  return result.ok ? result.object.value : result.problems;
}

/** The paths of what is wrong with a manifest. */
function complaintsAt(kind: string, rest: Record<string, unknown>): string[] {
  const result = read(kind, rest);
  return result.ok ? [] : result.problems.map(({ path }) => path.join('.'));
}

const pod = (spec: Record<string, unknown>, status: Record<string, unknown> = {}) =>
  readValue('Pod', { spec: { nodeName: 'a', ...spec }, status });

const service = (spec: Record<string, unknown>) => readValue('Service', { spec });

t.test('the kinds of the cluster have a name and labels', async (t) => {
  for (const kind of ['Namespace', 'Node']) {
    const metadata = { name: 'x', labels: { a: 'b' } };
    t.same(readValue(kind, { metadata, spec: {}, status: {} }), { name: 'x', labels: { a: 'b' } });
  }
  t.same(complaintsAt('Namespace', { metadata: { name: 'x.y' } }), ['metadata.name']);
  t.same(complaintsAt('Node', { metadata: { name: 'x', namespace: 'demo' } }), [
    'metadata.namespace',
  ]);
});

t.test('annotations of pods and namespaces that are settings say what can be done', async (t) => {
  const annotated = (kind: string, annotations: Record<string, string>, rest = {}) =>
    complaintsAt(kind, { metadata: { name: 'x', annotations }, ...rest });
  const spec = { spec: { nodeName: 'a' } };
  const good = {
    'weft.dev/capture': 'nft',
    'weft.dev/same-node': 'tunnel',
    'weft.dev/bypass': 'none',
    'others/capture': 'x',
  };
  t.same(annotated('Namespace', good), []);
  t.same(annotated('Pod', good, spec), []);
  for (const name of Object.keys(good).filter((each) => each.startsWith('weft.dev/'))) {
    t.same(annotated('Namespace', { [name]: 'x' }), [`metadata.annotations.${name}`]);
    t.same(annotated('Pod', { [name]: 'x' }, spec), [`metadata.annotations.${name}`]);
  }
});

t.test('a service account is in a namespace', async (t) => {
  t.same(readValue('ServiceAccount', { secrets: [] }), { namespace: 'demo', name: 'x' });
  t.same(readValue('ServiceAccount', { metadata: { name: 'x' } }), {
    namespace: 'default',
    name: 'x',
  });
});

t.test('a pod has each of its addresses once, and the named ports of all containers', async (t) => {
  const containers = [
    { name: 'one', ports: [{ name: 'http', containerPort: 80 }, { containerPort: 81 }] },
  ];
  const initContainers = [{ ports: [{ name: 'side', containerPort: 82 }] }];
  const status = { podIP: '10.0.0.1', podIPs: [{ ip: '10.0.0.1' }, { ip: 'fd00::1' }] };
  t.match(pod({ containers, initContainers }, status), {
    addresses: [Uint8Array.of(10, 0, 0, 1), { length: 16 }],
    ports: [
      { name: 'http', port: 80 },
      { name: 'side', port: 82 },
    ],
  });
});

t.test('a pod is ready unless its phase or its condition says it is not', async (t) => {
  const ready = (status: string) => ({ conditions: [{ type: 'Ready', status }] });
  const cases: [Record<string, unknown>, boolean, boolean][] = [
    [{}, true, false],
    [{ phase: 'Pending' }, false, false],
    [{ phase: 'Running', ...ready('True') }, true, false],
    [{ phase: 'Running', ...ready('False') }, false, false],
    [{ phase: 'Running', ...ready('Unknown') }, false, false],
    [{ conditions: [{ type: 'Initialized', status: 'False' }] }, true, false],
    [{ phase: 'Succeeded', ...ready('False') }, false, true],
    [{ phase: 'Failed' }, true, true],
  ];
  for (const [status, isReady, finished] of cases) {
    t.match(pod({}, status), { ready: isReady, finished }, JSON.stringify(status));
  }
});

t.test('what is misspelt or out of range in a pod is named', async (t) => {
  const at = (spec: object, status: object = {}) => complaintsAt('Pod', { spec, status });
  t.same(at({}), ['spec.nodeName']);
  t.same(at({ nodeName: 'a', hostnetwork: true }), ['spec.hostnetwork']);
  t.same(at({ nodeName: 'a', hostNetwork: 'yes' }), ['spec.hostNetwork']);
  t.same(at({ nodeName: 'a' }, { podIP: '10.0.0.256' }), ['status.podIP']);
  const containers = [{ ports: [{ containerPort: 0 }, { containerPort: 65_536 }] }];
  t.same(at({ nodeName: 'a', containers }), [
    'spec.containers.0.ports.0.containerPort',
    'spec.containers.0.ports.1.containerPort',
  ]);
});

t.test('a service has TCP ports only, and a target where none is given', async (t) => {
  const ports = [
    { port: 80, targetPort: 'http' },
    { port: 81 },
    { port: 53, protocol: 'UDP' },
    { port: 54, protocol: 'SCTP' },
  ];
  t.match(service({ ports }), {
    ports: [
      { port: 80, target: 'http' },
      { port: 81, target: 81 },
    ],
  });
});

t.test("a port's protocol is its appProtocol, or else the head of its name", async (t) => {
  const cases: [object, string | undefined][] = [
    [{ name: 'grpc' }, 'grpc'],
    [{ name: 'http-web' }, 'http11'],
    [{ name: 'http2-web' }, 'http2'],
    [{ name: 'https' }, 'tls'],
    [{ name: 'web-http' }, undefined],
    [{ name: 'toString' }, undefined],
    [{}, undefined],
    [{ appProtocol: 'kubernetes.io/h2c' }, 'http2'],
    [{ appProtocol: 'tcp', name: 'http' }, 'tcp'],
    [{ appProtocol: 'example.com/own', name: 'http' }, undefined],
  ];
  for (const [port, expected] of cases) {
    const value = service({ ports: [{ port: 80, ...port }] }) as { ports: object[] };
    const given = { name: '', ...port, port: 80, target: 80 };
    const { name, target } = given;
    t.same(
      value.ports,
      [{ name, port: 80, target, ...(expected === undefined ? {} : { appProtocol: expected }) }],
      JSON.stringify(port),
    );
  }
});

t.test(
  'a headless service has no address, and one without a selector selects nothing',
  async (t) => {
    const headless = { clusterIP: 'None', clusterIPs: ['None'], selector: {} };
    t.match(service(headless), { addresses: [], selector: undefined });
    t.match(service({ clusterIP: '', selector: { app: 'x' } }), {
      addresses: [],
      selector: { app: 'x' },
    });
    t.same(complaintsAt('Service', { spec: { clusterIP: 'none' } }), ['spec.clusterIP']);
  },
);

t.test('endpoints close to the client are preferred as the service says', async (t) => {
  const cases: [object, string][] = [
    [{}, 'any'],
    [{ trafficDistribution: 'PreferClose' }, 'preferSameZone'],
    [{ trafficDistribution: 'PreferSameZone' }, 'preferSameZone'],
    [{ trafficDistribution: 'PreferSameNode' }, 'preferSameNode'],
    [{ trafficDistribution: 'PreferSameZone', internalTrafficPolicy: 'Local' }, 'onlySameNode'],
  ];
  for (const [spec, distribution] of cases) {
    t.match(service({ ...spec }), { distribution, allowNotReady: false });
  }
  t.match(service({ publishNotReadyAddresses: true }), { allowNotReady: true });
});

t.test('an alias of DNS is not taken for a service', async (t) => {
  t.same(complaintsAt('Service', { spec: { type: 'ExternalName', externalName: 'x.example' } }), [
    'spec.type',
  ]);
});

t.test(
  'a pod that is being deleted is not ready, and one may have a name of its own',
  async (t) => {
    t.match(pod({ hostname: 'h', subdomain: 's' }), { hostname: 'h', subdomain: 's', ready: true });
    t.match(pod({}), { hostname: '', subdomain: '' });
    const metadata = { name: 'x', namespace: 'demo', deletionTimestamp: '2026-01-01T00:00:00Z' };
    t.match(read('Pod', { metadata, spec: { nodeName: 'a' } }), {
      object: { value: { ready: false } },
    });
  },
);
