// SPDX-License-Identifier: Apache-2.0
// The engine is a fake that remembers what it was asked; that what it says is what it does has
// tests of its own.
import t from 'tap';
import { Protocol } from '../../native/gen/tables_pb.js';
import { type Explainer, explain, findAddress, findWorkload } from '../../ztunnel/explain.ts';
import type { TableService, TableWorkload } from '../../ztunnel/translate.ts';

function workload(namespace: string, name: string, last: number): TableWorkload {
  return {
    ...{ uid: `c//Pod/${namespace}/${name}`, name, namespace, serviceAccount: name },
    ...{ trustDomain: 'cluster.local', node: 'a', protocol: Protocol.HBONE },
    addresses: [Uint8Array.of(10, 0, 0, last)],
    services: name === 'db-0' ? [{ service: 'demo/db.demo.svc.cluster.local', ports: [] }] : [],
  };
}

function service(namespace: string, name: string, last?: number): TableService {
  const hostname = `${name}.${namespace}.svc.cluster.local`;
  const address = Uint8Array.of(10, 96, 0, last ?? 0);
  return {
    ...{ key: `${namespace}/${hostname}`, name, namespace, hostname },
    addresses: last === undefined ? [] : [{ range: { address, length: 32 }, network: '' }],
  };
}

const workloads = [
  workload('demo', 'client', 1),
  workload('demo', 'db-0', 2),
  workload('other', 'client', 3),
];
const services = [
  service('demo', 'web', 10),
  service('other', 'web', 11),
  service('demo', 'db'),
  service('demo', 'empty'),
];
const known = {
  workload: (uid: string) => workloads.find((each) => each.uid === uid),
  workloads: () => workloads,
  services: () => services,
};

t.test('a workload is found by uid, name or address, and only if there is one', (t) => {
  for (const text of ['c//Pod/demo/client', 'demo/client', '10.0.0.1']) {
    t.equal(findWorkload(known, text), workloads[0], text);
  }
  t.equal(findWorkload(known, 'db-0'), workloads[1]);
  t.throws(() => findWorkload(known, 'client'), /could be demo\/client, other\/client; say/);
  t.throws(() => findWorkload(known, 'nobody'), { code: 'invalid', message: /no workload nobody/ });
  t.end();
});

t.test('a destination is an address, a service or a workload', (t) => {
  const of = (text: string, namespace = 'demo'): string => findAddress(known, text, namespace);
  t.equal(of('192.0.2.1'), '192.0.2.1');
  t.equal(of('fd00::1'), 'fd00::1');
  t.equal(of('web'), '10.96.0.10', 'the one of the own namespace');
  t.equal(of('web', 'other'), '10.96.0.11');
  t.equal(of('web.other'), '10.96.0.11');
  t.equal(of('web.demo.svc.cluster.local'), '10.96.0.10');
  t.equal(of('db'), '10.0.0.2', 'a headless one is an endpoint');
  t.equal(of('demo/db-0'), '10.0.0.2');
  t.throws(() => of('web', 'third'), /could be demo\/web\..*other\/web\./);
  t.throws(() => of('empty'), /neither an address nor an endpoint/);
  t.throws(() => of('nothing'), { code: 'invalid' });
  t.end();
});

t.test('the engine is asked, and what it leaves to say is said', (t) => {
  const asked: unknown[] = [];
  const explainer: Explainer = {
    explain: (query) => {
      asked.push(query);
      return {
        ...{ path: 'tunnel', why: 'in the mesh', captured: true, sourceIdentity: 'spiffe://x' },
        ...{ endpoints: [], endpointsTotal: 0 },
      };
    },
  };
  const said = explain(explainer, known, 'a', { source: 'db-0', destination: 'web', port: '80' });
  t.same(asked, [{ source: 'c//Pod/demo/db-0', destination: '10.96.0.10', port: 80 }]);
  t.match(said, {
    ...{ node: 'a', path: 'tunnel', service: '' },
    source: { workload: 'demo/db-0', node: 'a' },
    destination: { address: '10.96.0.10', port: 80 },
    notes: [/^UDP is not carried/],
  });
  const dns = explain(explainer, known, 'a', { source: 'db-0', destination: 'web', port: '53' });
  t.match(dns.notes, [/^port 53 of every address is answered by the proxy as DNS/, /^UDP/]);
  for (const port of ['', '0', '65536', '8x', '-1', '080808']) {
    const bad = { source: 'db-0', destination: 'web', port };
    t.throws(() => explain(explainer, known, 'a', bad), { code: 'invalid' }, port);
  }
  t.end();
});

t.test('who is not in the mesh, or on the host network, is said to be', (t) => {
  const explainer: Explainer = {
    explain: () => ({
      ...{ path: 'passthrough', why: 'the source is not captured', captured: false },
      ...{ sourceIdentity: '', endpoints: [], endpointsTotal: 0 },
    }),
  };
  const host = { ...workload('demo', 'host', 9), hostNetwork: true };
  const all = { ...known, workloads: () => [...workloads, host] };
  const notes = (source: string): readonly string[] =>
    explain(explainer, all, 'a', { source, destination: 'web', port: '80' }).notes;
  t.match(notes('db-0'), ['demo/db-0 is not in the mesh', /UDP/]);
  t.match(notes('host'), [/hostNetwork are never in the mesh/, /UDP/]);
  t.end();
});
