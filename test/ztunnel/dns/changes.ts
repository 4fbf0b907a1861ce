// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { Visibility } from '../../../native/gen/tables_pb.js';
import type { Update } from '../../../src/xds/client.ts';
import { typeUrls } from '../../../src/xds/wire.ts';
import { allNames, nameChanges } from '../../../ztunnel/dns/changes.ts';
import type { TableService, TableWorkload } from '../../../ztunnel/translate.ts';

const address = Uint8Array.of(10, 96, 0, 1);

const service: TableService = {
  ...{ key: 'demo/web', name: 'web', namespace: 'demo', hostname: 'Web.Demo.example' },
  addresses: [
    { network: '', range: { address, length: 32 } },
    { network: 'other', range: { address, length: 32 } },
    { network: '', range: { address, length: 24 } },
  ],
  visibility: Visibility.NAMESPACE,
  canonical: true,
  loadBalancing: { allowUnhealthy: true },
};

function workload(uid: string, network = ''): TableWorkload {
  return {
    ...{ uid, name: uid, namespace: 'demo', serviceAccount: 'db', trustDomain: 'x', node: 'a' },
    ...{ addresses: [address], hostname: 'DB-0.db', services: [{ service: 'demo/db', ports: [] }] },
    network,
  };
}

const workloads = [workload('u'), workload('far', 'other')];
const inForce = {
  service: (key: string) => (key === service.key ? service : undefined),
  workload: (uid: string) => workloads.find((each) => each.uid === uid),
  services: () => [service],
  workloads: () => workloads,
};

const shownService = {
  ...{ kind: 'service', key: 'demo/web', hostname: 'web.demo.example', namespace: 'demo' },
  ...{ addresses: ['10.96.0.1'], isPrivate: true, canonical: true, allEndpoints: true },
};
const shownWorkload = {
  ...{ kind: 'workload', key: 'u', hostname: 'db-0.db', addresses: ['10.96.0.1'] },
  ...{ services: ['demo/db'], healthy: false },
};

function updateOf(type: string, changed: string[], removed: string[] = []): Update {
  const entries = changed.map((key) => [key, {}] as const);
  return { type, changed: new Map(entries), removed, broken: [] } as unknown as Update;
}

t.test('names follow what is in force: single addresses of the own network, in lower case', (t) => {
  t.same(nameChanges(updateOf(typeUrls.address, ['demo/web', 'u'], ['x']), inForce), [
    { kind: 'gone', key: 'x' },
    shownService,
    shownWorkload,
  ]);
  t.end();
});

t.test('a resource that was rejected has the meaning it had, or none', (t) => {
  const update = updateOf(typeUrls.address, ['never taken', 'u']);
  t.same(nameChanges(update, inForce), [{ kind: 'gone', key: 'never taken' }, shownWorkload]);
  t.end();
});

t.test('a workload of another network has no name here', (t) => {
  t.same(nameChanges(updateOf(typeUrls.address, ['far']), inForce), [{ kind: 'gone', key: 'far' }]);
  t.end();
});

t.test('policies are no names', (t) => {
  t.same(nameChanges(updateOf(typeUrls.authorization, [], ['u']), inForce), []);
  t.end();
});

t.test('a thread that starts is told all', (t) => {
  t.same(allNames(inForce), [shownService, shownWorkload, { kind: 'gone', key: 'far' }]);
  t.end();
});
