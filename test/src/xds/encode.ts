// SPDX-License-Identifier: Apache-2.0
import { fromBinary } from '@bufbuild/protobuf';
import t, { type Test } from 'tap';
import { meshDefaults } from '../../../src/mesh/snapshot.ts';
import { SnapshotBuilder } from '../../../src/mesh/snapshot-builder.ts';
import {
  type EncodedResource,
  encodeChange,
  encodeMeshConfig,
  encodeTrustBundle,
} from '../../../src/xds/encode.ts';
import {
  AppProtocol,
  AuthorizationAction,
  AuthorizationScope,
  IPFamilies,
  NetworkMode,
  parseAddress,
  parseAuthorization,
  parseBody,
  ResourceSchema,
  TunnelProtocol,
  typeUrls,
  WorkloadStatus,
} from '../../../src/xds/wire.ts';
import {
  endpoint,
  ip,
  type Listed,
  meshOf,
  pod,
  service,
  serviceEntry,
} from '../../support/mesh-objects.ts';

function encode(listed: Listed) {
  const change = new SnapshotBuilder(meshDefaults).apply({ removed: [], added: meshOf(listed) });
  const encoded = encodeChange(change, meshDefaults);
  const setOf = (type: keyof typeof encoded) =>
    new Map(encoded[type].changed.map((resource) => [resource.name, resource]));
  return {
    [typeUrls.address]: setOf(typeUrls.address),
    [typeUrls.authorization]: setOf(typeUrls.authorization),
  };
}

function bodyOf(t: Test, resource: EncodedResource | undefined): Uint8Array {
  const message = fromBinary(ResourceSchema, resource?.bytes ?? new Uint8Array());
  t.equal(message.name, resource?.name);
  t.equal(message.version, resource?.version);
  return message.resource?.value ?? new Uint8Array();
}

t.test('a workload says all that a peer needs', async (t) => {
  const labels = { app: 'web', 'istio.io/dataplane-mode': 'ambient' };
  const set = encode({
    Pod: [pod({ labels })],
    Node: [{ name: 'a', labels: { 'topology.kubernetes.io/zone': 'z' } }],
  });
  const result = parseAddress(bodyOf(t, set[typeUrls.address].get('Kubernetes//Pod/demo/x')));
  t.match(result, {
    ok: true,
    value: {
      type: {
        case: 'workload',
        value: {
          uid: 'Kubernetes//Pod/demo/x',
          name: 'x',
          namespace: 'demo',
          trustDomain: 'cluster.local',
          serviceAccount: 'web',
          node: 'a',
          canonicalName: 'web',
          canonicalRevision: 'latest',
          clusterId: 'Kubernetes',
          tunnelProtocol: TunnelProtocol.HBONE,
          status: WorkloadStatus.HEALTHY,
          networkMode: NetworkMode.STANDARD,
          locality: { region: '', zone: 'z', subzone: '' },
        },
      },
    },
  });
});

t.test('a pod outside the mesh, on the host network, not ready', async (t) => {
  const set = encode({ Pod: [pod({ hostNetwork: true, ready: false })] });
  const result = parseAddress(bodyOf(t, set[typeUrls.address].get('Kubernetes//Pod/demo/x')));
  t.match(result, {
    value: {
      type: {
        value: {
          tunnelProtocol: TunnelProtocol.NONE,
          status: WorkloadStatus.UNHEALTHY,
          networkMode: NetworkMode.HOST_NETWORK,
        },
      },
    },
  });
});

t.test('a service has its hostname, addresses and ports', async (t) => {
  const set = encode({
    Service: [
      service({
        addresses: [ip('10.1.0.1'), ip('::')],
        ports: [
          { name: 'a', port: 80, target: 8080, appProtocol: 'grpc' },
          { name: 'b', port: 81, target: 'named' },
        ],
        selector: undefined,
        distribution: 'onlySameNode',
        allowNotReady: true,
      }),
    ],
  });
  const result = parseAddress(
    bodyOf(t, set[typeUrls.address].get('demo/web.demo.svc.cluster.local')),
  );
  t.match(result, {
    value: {
      type: {
        case: 'service',
        value: {
          hostname: 'web.demo.svc.cluster.local',
          ipFamilies: IPFamilies.DUAL,
          addresses: { length: 2 },
          ports: [
            { servicePort: 80, targetPort: 8080, appProtocol: AppProtocol.GRPC },
            { servicePort: 81, targetPort: 0, appProtocol: AppProtocol.UNKNOWN },
          ],
          loadBalancing: { mode: 1, routingPreference: [4], healthPolicy: 1 },
        },
      },
    },
  });
});

t.test('a policy keeps every part of every match', async (t) => {
  const exact = [{ kind: 'exact', value: 'a' }] as const;
  const block = [{ address: Uint8Array.of(10, 0, 0, 0), length: 8 }];
  const account = [{ namespace: 'x', serviceAccount: 'y' }];
  const set = encode({
    AuthorizationPolicy: [
      {
        namespace: 'demo',
        name: 'p',
        selector: undefined,
        action: 'deny',
        dryRun: true,
        rules: [
          [],
          [
            [
              {
                namespaces: [{ kind: 'presence' }],
                notNamespaces: exact,
                principals: [{ kind: 'prefix', value: 'b' }],
                notPrincipals: [{ kind: 'suffix', value: 'c' }],
                sourceIps: block,
                notSourceIps: block,
                destinationIps: block,
                notDestinationIps: block,
                destinationPorts: [1],
                notDestinationPorts: [2],
                serviceAccounts: account,
                notServiceAccounts: account,
              },
            ],
          ],
        ],
      },
    ],
  });
  const result = parseAuthorization(bodyOf(t, set[typeUrls.authorization].get('demo/p')));
  const wireExact = [{ matchType: { case: 'exact', value: 'a' } }];
  t.match(result, {
    value: {
      scope: AuthorizationScope.NAMESPACE,
      action: AuthorizationAction.DENY,
      dryRun: true,
      rules: [
        { clauses: { length: 0 } },
        {
          clauses: [
            {
              matches: [
                {
                  namespaces: [{ matchType: { case: 'presence' } }],
                  notNamespaces: wireExact,
                  principals: [{ matchType: { case: 'prefix', value: 'b' } }],
                  notPrincipals: [{ matchType: { case: 'suffix', value: 'c' } }],
                  sourceIps: [{ length: 8 }],
                  notSourceIps: [{ length: 8 }],
                  destinationIps: [{ length: 8 }],
                  notDestinationIps: [{ length: 8 }],
                  destinationPorts: [1],
                  notDestinationPorts: [2],
                  serviceAccounts: account,
                  notServiceAccounts: account,
                },
              ],
            },
          ],
        },
      ],
    },
  });
});

t.test('versions follow the content alone', async (t) => {
  const name = 'Kubernetes//Pod/demo/x';
  const versionOf = (listed: Listed) => encode(listed)[typeUrls.address].get(name)?.version;
  const version = versionOf({ Pod: [pod()] });
  t.equal(versionOf({ Pod: [pod(), pod({ name: 'y', addresses: [] })] }), version);
  t.not(versionOf({ Pod: [pod({ node: 'b' })] }), version);
});

t.test('what goes away is named, and nothing else is encoded', async (t) => {
  const builder = new SnapshotBuilder(meshDefaults);
  const [x, y] = [pod(), pod({ name: 'y', addresses: [ip('10.0.0.2')] })];
  const objects = meshOf({ Pod: [x, y] });
  builder.apply({ removed: [], added: objects });
  const removed = objects.filter(({ value }) => value === x);
  const change = encodeChange(builder.apply({ removed, added: [] }), meshDefaults);
  t.same(change, {
    [typeUrls.address]: { changed: [], removed: ['Kubernetes//Pod/demo/x'] },
    [typeUrls.authorization]: { changed: [], removed: [] },
  });
});

t.test('a resource says by what else it is found', async (t) => {
  const set = encode({
    Pod: [pod({ addresses: [ip('10.0.0.1'), ip('fd00::1')] })],
    Service: [service({ addresses: [ip('10.9.0.1')] })],
  })[typeUrls.address];
  const workload = set.get('Kubernetes//Pod/demo/x');
  t.match(workload, {
    aliases: ['/10.0.0.1', '/fd00::1'],
    services: ['demo/web.demo.svc.cluster.local'],
    node: 'a',
  });
  const message = fromBinary(ResourceSchema, workload?.bytes ?? new Uint8Array());
  t.same(message.aliases, ['/10.0.0.1', '/fd00::1']);
  t.match(set.get('demo/web.demo.svc.cluster.local'), { aliases: ['/10.9.0.1'], node: '' });
  const host = encode({ Pod: [pod({ hostNetwork: true })] })[typeUrls.address];
  t.same(host.get('Kubernetes//Pod/demo/x')?.aliases, [], 'the address of a node is no alias');
});

t.test('a range, a name to resolve and a passthrough are said as they are', async (t) => {
  const set = encode({
    ServiceEntry: [
      serviceEntry({
        addresses: [{ address: ip('198.51.100.0'), length: 24 }],
        resolution: 'none',
        isPrivate: true,
        subjectAltNames: ['spiffe://td/ns/x/sa/y'],
      }),
      serviceEntry({ name: 'dns', hosts: ['db.example.com'], resolution: 'dns' }),
    ],
  })[typeUrls.address];
  t.match(parseAddress(bodyOf(t, set.get('demo/api.example.com'))), {
    value: {
      type: {
        value: {
          addresses: [{ length: 24 }],
          loadBalancing: { mode: 3 },
          visibility: 1,
          canonical: false,
          subjectAltNames: ['spiffe://td/ns/x/sa/y'],
        },
      },
    },
  });
  const uid = 'Kubernetes/networking.istio.io/ServiceEntry/demo/dns/db.example.com';
  t.match(parseAddress(bodyOf(t, set.get(uid))), {
    value: { type: { value: { hostname: 'db.example.com', addresses: [] } } },
  });
});

t.test('an endpoint says its share and its network', async (t) => {
  const far = endpoint({ network: 'far', weight: 3 });
  const set = encode({ ServiceEntry: [serviceEntry({ endpoints: [far] })] })[typeUrls.address];
  const uid = 'Kubernetes/networking.istio.io/ServiceEntry/demo/outside/192.0.2.1';
  t.same(set.get(uid)?.aliases, ['far/192.0.2.1']);
  t.match(parseAddress(bodyOf(t, set.get(uid))), {
    value: { type: { value: { network: 'far', capacity: 3 } } },
  });
});

t.test('a trust bundle goes by the name of its trust domain', (t) => {
  const init = { trustDomain: 'td', roots: [Uint8Array.of(1)], deniedSerials: ['a1'], epoch: 3n };
  const resource = encodeTrustBundle(init);
  t.equal(resource.name, 'td');
  t.match(parseBody(typeUrls.trustBundle, bodyOf(t, resource)), { ok: true, value: init });
  t.not(encodeTrustBundle({ ...init, epoch: 4n }).version, resource.version);
  t.end();
});

t.test('what the mesh does not say is empty', (t) => {
  const resource = encodeMeshConfig({ name: 'default', sameNode: 'tunnel' });
  t.equal(resource.name, 'default');
  const value = { capture: '', sameNode: 'tunnel' };
  t.match(parseBody(typeUrls.meshConfig, bodyOf(t, resource)), { ok: true, value });
  t.end();
});
