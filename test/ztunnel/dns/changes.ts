// SPDX-License-Identifier: Apache-2.0
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import t from 'tap';
import type { Update } from '../../../src/xds/client.ts';
import {
  type Address,
  AddressSchema,
  HealthPolicy,
  type ServiceSchema,
  typeUrls,
  Visibility,
  type WorkloadSchema,
  WorkloadStatus,
} from '../../../src/xds/wire.ts';
import { nameChanges } from '../../../ztunnel/dns/changes.ts';

const ip = Uint8Array.of(10, 96, 0, 1);

function addressOf(
  value: MessageInitShape<typeof ServiceSchema> | MessageInitShape<typeof WorkloadSchema>,
  kind: 'service' | 'workload',
): Address {
  return create(AddressSchema, { type: { case: kind, value } as Address['type'] });
}

function updateOf(changed: Record<string, Address>, more: Partial<Update> = {}): Update {
  const changes = { changed: new Map(Object.entries(changed)), removed: [], broken: [] };
  return { type: typeUrls.address, ...changes, ...more } as Update;
}

const web = addressOf(
  {
    ...{ name: 'web', namespace: 'demo', hostname: 'Web.Demo.example' },
    addresses: [
      { network: '', address: ip },
      { network: 'other', address: ip },
      { network: '', address: ip, length: 24 },
      { network: '', address: ip, length: 32 },
    ],
    visibility: Visibility.NAMESPACE,
    canonical: true,
    loadBalancing: { healthPolicy: HealthPolicy.ALLOW_ALL },
  },
  'service',
);

t.test('a service: its own single addresses, in lower case', (t) => {
  t.same(nameChanges(updateOf({ 'demo/web': web }), new Map()), [
    {
      ...{ kind: 'service', key: 'demo/web', hostname: 'web.demo.example', namespace: 'demo' },
      addresses: ['10.96.0.1', '10.96.0.1'],
      ...{ isPrivate: true, canonical: true, allEndpoints: true },
    },
  ]);
  t.end();
});

t.test('a workload: hostname, addresses, services, health; another network is none', (t) => {
  const of = (network: string): Address =>
    addressOf(
      {
        ...{ uid: 'u', name: 'db-0', namespace: 'demo', hostname: 'DB-0.db', network },
        ...{ addresses: [ip], services: { 'demo/db': { ports: [] } } },
        status: WorkloadStatus.UNHEALTHY,
      },
      'workload',
    );
  t.same(nameChanges(updateOf({ u: of(''), v: of('far') }), new Map()), [
    {
      ...{ kind: 'workload', key: 'u', hostname: 'db-0.db', addresses: ['10.96.0.1'] },
      ...{ services: ['demo/db'], healthy: false },
    },
    { kind: 'gone', key: 'v' },
  ]);
  t.end();
});

t.test('what was rejected or is broken keeps its meaning; what is removed has none', (t) => {
  const update = updateOf({ 'demo/web': web }, { removed: ['x', 'y', 'demo/web'], broken: ['y'] });
  t.same(nameChanges(update, new Map([['demo/web', 'bad']])), [{ kind: 'gone', key: 'x' }]);
  t.end();
});

t.test('policies are no names', (t) => {
  const update = { type: typeUrls.authorization, changed: new Map(), removed: ['x'], broken: [] };
  t.same(nameChanges(update as unknown as Update, new Map()), []);
  t.end();
});
