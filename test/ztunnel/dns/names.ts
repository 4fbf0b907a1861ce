// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { type NamedService, type NamedWorkload, NameTable } from '../../../ztunnel/dns/names.ts';

const domain = 'svc.cluster.local';

function service(hostname: string, change: Partial<NamedService> = {}): NamedService {
  const namespace = change.namespace ?? 'demo';
  return {
    ...{ kind: 'service', key: `${namespace}/${hostname}`, hostname, namespace },
    ...{ addresses: ['10.96.0.1'], isPrivate: false, canonical: false, allEndpoints: false },
    ...change,
  };
}

function workload(key: string, change: Partial<NamedWorkload> = {}): NamedWorkload {
  return {
    ...{ kind: 'workload', key, hostname: '', addresses: [`10.0.0.${key}`], healthy: true },
    services: [`demo/db.demo.${domain}`],
    ...change,
  };
}

function tableOf(...changes: Parameters<NameTable['apply']>[0][number][]): NameTable {
  const table = new NameTable('cluster.local');
  table.apply(changes);
  return table;
}

t.test('a service is found by its name, and by what stands for it without doubt', (t) => {
  const table = tableOf(service(`web.demo.${domain}`));
  const found = { addresses: ['10.96.0.1'], zone: 'cluster.local' };
  t.same(table.find(`web.demo.${domain}`, 'other'), found);
  t.same(table.find('web.demo.svc', 'other'), found);
  t.same(table.find('web', 'demo'), found);
  t.equal(table.find('web', 'other'), undefined, 'one label is of the own namespace');
  t.equal(table.find('web.demo', 'demo'), undefined, 'may be a domain of the outside');
  t.equal(table.find('demo.svc', 'demo'), undefined);
  t.equal(table.find(domain, 'demo'), undefined);
  t.equal(table.find('', 'demo'), undefined);
  t.end();
});

t.test('a headless service names its endpoints that are ready', (t) => {
  const name = `db.demo.${domain}`;
  const table = tableOf(
    service(name, { addresses: [] }),
    workload('1'),
    workload('2', { healthy: false }),
    workload('3', { services: [] }),
  );
  t.same(table.find(name, 'demo')?.addresses, ['10.0.0.1']);
  table.apply([service(name, { addresses: [], allEndpoints: true })]);
  t.same(table.find(name, 'demo')?.addresses, ['10.0.0.1', '10.0.0.2']);
  table.apply([{ kind: 'gone', key: '1' }, workload('2', { services: [] })]);
  t.same(table.find(name, 'demo'), { addresses: [], zone: 'cluster.local' }, 'it exists, empty');
  t.end();
});

t.test('endpoints may come before their service', (t) => {
  const table = tableOf(workload('1'), service(`db.demo.${domain}`, { addresses: [] }));
  t.same(table.find(`db.demo.${domain}`, 'demo')?.addresses, ['10.0.0.1']);
  t.end();
});

t.test('a pod has its own name while it is ready', (t) => {
  const hostname = `db-0.db.demo.${domain}`;
  const table = tableOf(workload('1', { hostname }));
  t.same(table.find(hostname, 'demo')?.addresses, ['10.0.0.1']);
  table.apply([workload('1', { hostname, healthy: false })]);
  t.same(table.find(hostname, 'demo')?.addresses, []);
  table.apply([workload('1')]);
  t.equal(table.find(hostname, 'demo'), undefined);
  t.end();
});

t.test("a host of the outside without addresses is the outside's", (t) => {
  const table = tableOf(service('api.example.com', { addresses: [] }));
  t.equal(table.find('api.example.com', 'demo'), undefined);
  table.apply([workload('1', { services: ['demo/api.example.com'] })]);
  const found = { addresses: ['10.0.0.1'], zone: 'api.example.com' };
  t.same(table.find('api.example.com', 'demo'), found);
  t.end();
});

t.test('the longest wildcard fits, an exact name before it', (t) => {
  const table = tableOf(
    service('*.example.com', { addresses: ['10.96.0.2'] }),
    service('*.b.example.com', { addresses: ['10.96.0.3'] }),
    service('a.example.com', { addresses: ['10.96.0.4'] }),
  );
  const of = (name: string): readonly string[] | undefined => table.find(name, 'demo')?.addresses;
  t.same(of('x.example.com'), ['10.96.0.2']);
  t.same(of('x.y.example.com'), ['10.96.0.2']);
  t.same(of('a.b.example.com'), ['10.96.0.3']);
  t.same(of('b.example.com'), ['10.96.0.2']);
  t.same(of('a.example.com'), ['10.96.0.4']);
  t.equal(of('example.com'), undefined);
  table.apply([service('*.b.example.com', { addresses: [] })]);
  t.equal(of('a.b.example.com'), undefined, 'one without addresses says nothing');
  t.end();
});

t.test('of several, the own namespace counts, then the canonical one, then the first', (t) => {
  const of = (namespace: string, change: Partial<NamedService> = {}): NamedService =>
    service('api.example.com', { namespace, addresses: [namespace], ...change });
  const table = tableOf(of('c'), of('b'), of('a', { isPrivate: true }));
  const seen = (from: string): string | undefined =>
    table.find('api.example.com', from)?.addresses[0];
  t.equal(seen('a'), 'a');
  t.equal(seen('c'), 'c');
  t.equal(seen('x'), 'b', 'a private one is not seen from elsewhere');
  table.apply([of('c', { canonical: true })]);
  t.equal(seen('x'), 'c');
  table.apply([{ kind: 'gone', key: 'c/api.example.com' }]);
  t.equal(seen('x'), 'b');
  t.end();
});

t.test('a changed hostname leaves no trace of the old one', (t) => {
  const table = tableOf(service('old.example.com', { key: 'k' }));
  table.apply([service('new.example.com', { key: 'k' })]);
  t.equal(table.find('old.example.com', 'demo'), undefined);
  t.ok(table.find('new.example.com', 'demo'));
  t.end();
});
