// SPDX-License-Identifier: Apache-2.0

import { mock } from 'node:test';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import t from 'tap';
import {
  type ConnectionEventSchema,
  Direction,
  EventBatchSchema,
  Kind,
  Reason,
} from '../../native/gen/events_pb.js';
import { createLog } from '../../src/lib/log.ts';
import { Metrics } from '../../ztunnel/metrics.ts';
import { Observer, refusalLinesMax, refusalWindowMs } from '../../ztunnel/observe.ts';
import type { TableService, TableWorkload } from '../../ztunnel/translate.ts';

const service: TableService = { key: 'demo/web.demo.svc.cluster.local', name: 'web' };

function workload(name: string): TableWorkload {
  const uid = `Kubernetes//Pod/demo/${name}`;
  const of = { uid, name, namespace: 'demo', serviceAccount: name, node: 'a' };
  return { ...of, trustDomain: 'cluster.local', workloadName: `${name}-deployment` };
}

const directory = {
  workload: (uid: string) => [workload('client'), workload('server')].find((w) => w.uid === uid),
  service: (key: string) => (key === service.key ? service : undefined),
};

const outbound: MessageInitShape<typeof ConnectionEventSchema> = {
  kind: Kind.CLOSED,
  direction: Direction.OUTBOUND,
  podUid: 'u1',
  sourceAddress: '10.0.0.1:40000',
  destinationAddress: '10.0.0.2:8080',
  tunnelAddress: '10.0.0.2:15008',
  sourceIdentity: 'spiffe://cluster.local/ns/demo/sa/client',
  destinationIdentity: 'spiffe://cluster.local/ns/demo/sa/server',
  sourceWorkload: 'Kubernetes//Pod/demo/client',
  destinationWorkload: 'Kubernetes//Pod/demo/server',
  destinationService: 'demo/web.demo.svc.cluster.local',
  bytesSent: 100n,
  bytesReceived: 2000n,
  durationUs: 12_345n,
  mutualTls: true,
};

function setUp() {
  const lines: Record<string, unknown>[] = [];
  const log = createLog('test', 'debug', { write: (line) => lines.push(JSON.parse(line)) });
  const metrics = new Metrics(() => ({}));
  const observer = new Observer(directory, log, metrics);
  const see = (...connections: MessageInitShape<typeof ConnectionEventSchema>[]): void =>
    observer.onEvents(create(EventBatchSchema, { connections }));
  return { lines, metrics, observer, see };
}

t.test('a finished connection is one line with the keys of ztunnel', async (t) => {
  const { lines, see } = setUp();
  see(outbound);
  t.match(lines, [
    {
      level: 'info',
      target: 'access',
      msg: 'connection complete',
      'src.addr': '10.0.0.1:40000',
      'src.workload': 'client',
      'src.namespace': 'demo',
      'src.identity': 'spiffe://cluster.local/ns/demo/sa/client',
      'dst.addr': '10.0.0.2:15008',
      'dst.hbone_addr': '10.0.0.2:8080',
      'dst.service': 'web.demo.svc.cluster.local',
      'dst.workload': 'server',
      'dst.namespace': 'demo',
      'dst.identity': 'spiffe://cluster.local/ns/demo/sa/server',
      direction: 'outbound',
      bytes_sent: 100,
      bytes_recv: 2000,
      duration: '12ms',
    },
  ]);
  t.notOk('error' in (lines[0] ?? {}));
});

t.test('an inbound tunnel is shown at our own tunnel port, IPv6 too', async (t) => {
  const { lines, see } = setUp();
  const inbound = { ...outbound, direction: Direction.INBOUND, tunnelAddress: '10.0.0.1:40001' };
  see(inbound, { ...inbound, destinationAddress: '[fd77::2]:8080' });
  t.match(lines[0], { 'dst.addr': '10.0.0.2:15008', 'dst.hbone_addr': '10.0.0.2:8080' });
  t.match(lines[1], { 'dst.addr': '[fd77::2]:15008', direction: 'inbound' });
});

t.test('plaintext has no identities and no tunnel in its line', async (t) => {
  const { lines, see } = setUp();
  const none = { tunnelAddress: '', sourceIdentity: '', destinationIdentity: '', mutualTls: false };
  see({ ...outbound, ...none });
  const [line = {}] = lines;
  t.equal(line['dst.addr'], '10.0.0.2:8080');
  for (const key of ['src.identity', 'dst.identity', 'dst.hbone_addr']) {
    t.notOk(key in line, key);
  }
});

t.test('a refusal is a warning with its reason and policy', async (t) => {
  const { lines, see } = setUp();
  const refused = { kind: Kind.REFUSED, reason: Reason.DENIED, detail: 'denied by policy' };
  see({ ...outbound, ...refused, policy: 'demo/p' });
  t.match(lines, [
    { level: 'warn', msg: 'connection failed', error: 'denied by policy (policy demo/p)' },
  ]);
});

t.test('a flood of refusals is cut short in the log, and counted whole', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  const { lines, metrics, observer, see } = setUp();
  const refused = { kind: Kind.REFUSED, reason: Reason.DENIED };
  const flood = (times: number) => see(...Array.from({ length: times }, () => refused));
  flood(refusalLinesMax);
  t.equal(lines.length, refusalLinesMax);
  flood(3);
  t.equal(lines.length, refusalLinesMax, 'one past the limit');
  see({ kind: Kind.REFUSED, reason: Reason.LIMIT }, outbound);
  t.match(lines.slice(refusalLinesMax), [{ error: 'LIMIT' }, { msg: 'connection complete' }]);
  lines.length = 0;
  mock.timers.tick(refusalWindowMs);
  t.match(lines, [{ level: 'warn', target: 'access', reason: 'DENY', left_out: 3 }]);
  lines.length = 0;
  flood(refusalLinesMax + 1);
  observer.close();
  t.match(lines.at(-1), { left_out: 1 }, 'and at the end');
  const total = 2 * refusalLinesMax + 4;
  t.match(await metrics.text(), new RegExp(`failed_total\\{.*"DENY".*\\} ${total}\\n`));
});

t.test('a connection that broke is a warning, an opened one is for debugging', async (t) => {
  const { lines, see } = setUp();
  see({ ...outbound, kind: Kind.OPENED }, { ...outbound, reason: Reason.RESET });
  t.match(lines, [
    { level: 'debug', msg: 'connection opened' },
    { level: 'warn', msg: 'connection complete', error: 'RESET' },
  ]);
  t.notOk('duration' in (lines[0] ?? {}));
});

t.test('each event is counted once, with labels by name', async (t) => {
  const { metrics, see } = setUp();
  const denied = { kind: Kind.REFUSED, reason: Reason.DENIED, direction: Direction.INBOUND };
  see({ ...outbound, kind: Kind.OPENED }, outbound, { ...outbound, ...denied });
  const text = await metrics.text();
  const labels = [
    'reporter="source"',
    'source_workload="client-deployment"',
    'source_workload_namespace="demo"',
    'source_principal="spiffe://cluster.local/ns/demo/sa/client"',
    'destination_workload="server-deployment"',
    'destination_workload_namespace="demo"',
    'destination_principal="spiffe://cluster.local/ns/demo/sa/server"',
    'destination_service="web.demo.svc.cluster.local"',
    'destination_service_name="web"',
    'destination_service_namespace="demo"',
    'connection_security_policy="mutual_tls"',
    'response_flags="-"',
    'request_protocol="tcp"',
  ].join(',');
  const lines = text.split('\n');
  t.ok(lines.includes(`istio_tcp_connections_opened_total{${labels}} 1`));
  t.ok(lines.includes(`istio_tcp_connections_closed_total{${labels}} 1`));
  t.ok(lines.includes(`istio_tcp_received_bytes_total{${labels}} 100`));
  t.ok(lines.includes(`istio_tcp_sent_bytes_total{${labels}} 2000`));
  t.match(text, /^istio_tcp_connections_failed_total\{reporter="destination",.*"DENY".*\} 1$/m);
});

t.test('names nobody knows are "unknown", and lost events are counted', async (t) => {
  const { metrics, observer, see } = setUp();
  see({ kind: Kind.OPENED });
  t.match(await metrics.text(), /source_workload="unknown",source_workload_namespace="unknown"/);
  observer.onEvents(create(EventBatchSchema, { dropped: 3n }));
  t.equal(observer.dropped, 3n);
});
