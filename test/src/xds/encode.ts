// SPDX-License-Identifier: Apache-2.0
import { fromBinary } from '@bufbuild/protobuf';
import t, { type Test } from 'tap';
import type { MeshObjects, Pod } from '../../../src/mesh/objects.ts';
import { buildSnapshot, meshDefaults } from '../../../src/mesh/snapshot.ts';
import {
  type EncodedResource,
  encodeSnapshot,
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

const pod: Pod = {
  namespace: 'demo',
  name: 'x',
  labels: { app: 'web' },
  node: 'a',
  serviceAccount: 'web',
  hostNetwork: false,
  addresses: [Uint8Array.of(10, 0, 0, 1)],
  ports: [],
  finished: false,
  ready: true,
};

const objects = (more: Partial<MeshObjects>): MeshObjects => ({
  namespaces: [],
  nodes: [],
  serviceAccounts: [],
  pods: [pod],
  services: [],
  policies: [],
  ...more,
});

const encode = (more: Partial<MeshObjects>) =>
  encodeSnapshot(buildSnapshot(objects(more), meshDefaults));

function bodyOf(t: Test, resource: EncodedResource | undefined): Uint8Array {
  const message = fromBinary(ResourceSchema, resource?.bytes ?? new Uint8Array());
  t.equal(message.name, resource?.name);
  t.equal(message.version, resource?.version);
  return message.resource?.value ?? new Uint8Array();
}

t.test('a workload says all that a peer needs', async (t) => {
  const labels = { app: 'web', 'istio.io/dataplane-mode': 'ambient' };
  const set = encode({
    pods: [{ ...pod, labels }],
    nodes: [{ name: 'a', labels: { 'topology.kubernetes.io/zone': 'z' } }],
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
  const set = encode({ pods: [{ ...pod, hostNetwork: true, ready: false }] });
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
    services: [
      {
        namespace: 'demo',
        name: 'web',
        addresses: [Uint8Array.of(10, 1, 0, 1), new Uint8Array(16)],
        ports: [
          { port: 80, target: 8080, appProtocol: 'grpc' },
          { port: 81, target: 'named' },
        ],
        selector: undefined,
        distribution: 'onlySameNode',
        allowNotReady: true,
      },
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
    policies: [
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

t.test('versions follow the content alone, and unchanged resources are shared', async (t) => {
  const before = encode({});
  const snapshot = buildSnapshot(
    objects({ pods: [pod, { ...pod, name: 'y', addresses: [Uint8Array.of(10, 0, 0, 2)] }] }),
    meshDefaults,
  );
  const after = encodeSnapshot(snapshot, before);
  const name = 'Kubernetes//Pod/demo/x';
  t.equal(after[typeUrls.address].get(name), before[typeUrls.address].get(name), 'the same object');
  t.equal(
    encode({})[typeUrls.address].get(name)?.version,
    before[typeUrls.address].get(name)?.version,
  );
  const moved = encode({ pods: [{ ...pod, node: 'b' }] });
  t.not(moved[typeUrls.address].get(name)?.version, before[typeUrls.address].get(name)?.version);
});

t.test('a trust bundle goes by the name of its trust domain', (t) => {
  const init = { trustDomain: 'td', roots: [Uint8Array.of(1)], deniedSerials: ['a1'], epoch: 3n };
  const resource = encodeTrustBundle(init);
  t.equal(resource.name, 'td');
  t.match(parseBody(typeUrls.trustBundle, bodyOf(t, resource)), { ok: true, value: init });
  t.not(encodeTrustBundle({ ...init, epoch: 4n }).version, resource.version);
  t.end();
});
