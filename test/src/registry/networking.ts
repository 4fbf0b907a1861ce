// SPDX-License-Identifier: Apache-2.0
// What the objects mean is tested with src/mesh; here, which manifests are read and which not.
import t from 'tap';
import { networkingReaders } from '../../../src/registry/networking.ts';
import { ip } from '../../support/mesh-objects.ts';

const apiVersion = 'networking.istio.io/v1';

function read(kind: string, spec: object, more: object = {}) {
  const metadata = { name: 'x', namespace: 'demo', ...more };
  const result = networkingReaders[`${apiVersion}/${kind}`]?.({ apiVersion, kind, metadata, spec });
  if (result === undefined) {
    throw new Error(`no reader of ${kind}`);
  }
  return result;
}

const entry = (spec: object) => read('ServiceEntry', { hosts: ['a.example.com'], ...spec });

function complaintsAt(result: ReturnType<typeof read>): string[] {
  return result.ok ? [] : result.problems.map(({ path }) => path.join('.'));
}

t.test('a service entry is read with all its parts', async (t) => {
  const spec = {
    hosts: ['A.example.com', '*.example.org.'],
    addresses: ['192.0.2.1', '198.51.100.7/24'],
    ports: [
      { number: 443, name: 'https', protocol: 'HTTPS', targetPort: 8443 },
      { number: 80, name: 'http', protocol: 'HTTP' },
      { number: 1, protocol: 'TOSTRING' },
    ],
    location: 'MESH_INTERNAL',
    resolution: 'STATIC',
    endpoints: [{ address: '192.0.2.9', ports: { https: 1 }, weight: 0, locality: 'r/z' }],
    exportTo: ['.'],
    subjectAltNames: ['spiffe://td/ns/x/sa/y'],
  };
  t.same(read('ServiceEntry', spec), {
    ok: true,
    object: {
      kind: 'ServiceEntry',
      value: {
        namespace: 'demo',
        name: 'x',
        hosts: ['a.example.com', '*.example.org'],
        addresses: [
          { address: ip('192.0.2.1'), length: 32 },
          { address: ip('198.51.100.0'), length: 24 },
        ],
        ports: [
          { name: 'https', port: 443, target: 8443, appProtocol: 'tls' },
          { name: 'http', port: 80, target: 80, appProtocol: 'http11' },
          { name: '', port: 1, target: 1 },
        ],
        resolution: 'static',
        endpoints: [
          {
            address: ip('192.0.2.9'),
            hostname: '',
            ports: new Map([['https', 1]]),
            labels: {},
            network: '',
            locality: 'r/z',
            weight: 1,
            serviceAccount: 'default',
          },
        ],
        selector: undefined,
        subjectAltNames: ['spiffe://td/ns/x/sa/y'],
        isPrivate: true,
      },
    },
  });
});

t.test('endpoints may be names where names are resolved', async (t) => {
  const endpoints = [{ address: 'DB.example.com' }, { address: '192.0.2.1' }];
  t.match(entry({ resolution: 'DNS', endpoints }), {
    object: { value: { endpoints: [{ hostname: 'db.example.com', address: undefined }, {}] } },
  });
  t.same(complaintsAt(entry({ resolution: 'STATIC', endpoints })), ['spec.endpoints.0.address']);
});

t.test('what cannot mean anything in a service entry is named', async (t) => {
  const selector = { workloadSelector: { labels: { app: 'x' } } };
  const endpoints = [{ address: '192.0.2.1' }];
  const cases: [object, string][] = [
    [{ hosts: [] }, 'spec.hosts'],
    [{ hosts: ['*'] }, 'spec.hosts.0'],
    [{ hosts: ['a_b.example'] }, 'spec.hosts.0'],
    [{ hosts: ['a.b', 'A.b.'] }, 'spec.hosts'],
    [{ hosts: ['*.a.b'], resolution: 'DNS' }, 'spec.hosts'],
    [{ addresses: ['192.0.2.1/33'] }, 'spec.addresses.0'],
    [{ ports: [{ number: 0 }] }, 'spec.ports.0.number'],
    [{ resolution: 'NONE', endpoints }, 'spec.endpoints'],
    [{ resolution: 'STATIC', endpoints, ...selector }, 'spec.workloadSelector'],
    [selector, 'spec.workloadSelector'],
    [{ resolution: 'STATIC', endpoints: [{}] }, 'spec.endpoints.0.address'],
    [{ resolution: 'STATIC', endpoints: [{ address: 'unix:///x' }] }, 'spec.endpoints.0.address'],
    [{ resolution: 'AUTO' }, 'spec.resolution'],
    [{ exportTo: ['other'] }, 'spec.exportTo.0'],
    [{ port: [] }, 'spec.port'],
  ];
  for (const [spec, path] of cases) {
    t.same(complaintsAt(entry(spec)), [path], JSON.stringify(spec));
  }
});

t.test('a workload entry has the labels of both places, its own first', async (t) => {
  const labels = { app: 'outer', a: '1' };
  const spec = { address: '192.0.2.1', labels: { app: 'inner' }, serviceAccount: 'vm' };
  t.match(read('WorkloadEntry', spec, { labels }), {
    object: { value: { endpoint: { labels: { app: 'inner', a: '1' }, serviceAccount: 'vm' } } },
  });
  t.match(read('WorkloadEntry', { address: 'vm.example.com' }), {
    object: { value: { endpoint: { hostname: 'vm.example.com' } } },
  });
  t.same(complaintsAt(read('WorkloadEntry', { network: 'far' })), ['spec.address']);
  t.same(complaintsAt(read('WorkloadEntry', { address: '192.0.2.256.1/8' })), ['spec.address']);
});
