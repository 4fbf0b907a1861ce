// SPDX-License-Identifier: Apache-2.0

import { create, type MessageInitShape } from '@bufbuild/protobuf';
import t from 'tap';
import {
  type ConnectionTotalsSchema,
  Direction,
  EventBatchSchema,
  Reason,
} from '../../native/gen/events_pb.js';
import { createLog } from '../../src/lib/log.ts';
import { Metrics } from '../../ztunnel/metrics.ts';
import { Observer } from '../../ztunnel/observe.ts';
import type { TableService, TableWorkload } from '../../ztunnel/translate.ts';

const service: TableService = { key: 'demo/web.demo.svc.cluster.local', name: 'web' };

function workload(name: string): TableWorkload {
  const uid = `Kubernetes//Pod/demo/${name}`;
  const of = { uid, name, namespace: 'demo', serviceAccount: name, node: 'a' };
  const canonical = {
    canonicalName: name,
    canonicalRevision: 'v1',
    cluster: 'Kubernetes',
    zone: 'z',
  };
  return { ...of, ...canonical, trustDomain: 'cluster.local', workloadName: `${name}-deployment` };
}

const directory = {
  workload: (uid: string) => [workload('client'), workload('server')].find((w) => w.uid === uid),
  service: (key: string) => (key === service.key ? service : undefined),
};

const outbound: MessageInitShape<typeof ConnectionTotalsSchema> = {
  direction: Direction.OUTBOUND,
  sourceIdentity: 'spiffe://cluster.local/ns/demo/sa/client',
  destinationIdentity: 'spiffe://cluster.local/ns/demo/sa/server',
  sourceWorkload: 'Kubernetes//Pod/demo/client',
  destinationWorkload: 'Kubernetes//Pod/demo/server',
  destinationService: 'demo/web.demo.svc.cluster.local',
  mutualTls: true,
};

function setUp() {
  const records: Record<string, unknown>[] = [];
  const lines: string[] = [];
  const log = createLog('test', 'debug', { write: (line) => records.push(JSON.parse(line)) });
  const metrics = new Metrics([]);
  const write = (bytes: Uint8Array): void => void lines.push(Buffer.from(bytes).toString());
  const observer = new Observer(directory, write, log, metrics);
  const see = (...totals: MessageInitShape<typeof ConnectionTotalsSchema>[]): void =>
    observer.onEvents(create(EventBatchSchema, { totals }));
  return { records, lines, metrics, observer, see };
}

t.test('lines are passed on as they are, in order', async (t) => {
  const { lines, records, observer } = setUp();
  const bytes = ['{"a":1}\n{"b":2}\n', '{"c":3}\n'].map((text) => new TextEncoder().encode(text));
  observer.onEvents(create(EventBatchSchema, { lines: bytes }));
  t.same(lines, ['{"a":1}\n{"b":2}\n', '{"c":3}\n']);
  t.same(records, []);
});

t.test('lines that were left out are told by reason', async (t) => {
  const { records, observer } = setUp();
  const leftOut = [{ reason: Reason.DENIED, lines: 3 }];
  observer.onEvents(create(EventBatchSchema, { leftOut }));
  t.match(records, [{ level: 'warn', target: 'access', reason: 'DENY', left_out: 3 }]);
});

t.test('totals are added up, with labels by name', async (t) => {
  const { metrics, observer, see } = setUp();
  see({ ...outbound, opened: 3n, closed: 1n, bytesSent: 60n, bytesReceived: 1500n });
  see({ ...outbound, closed: 1n, bytesSent: 40n, bytesReceived: 500n });
  see({ ...outbound, direction: Direction.INBOUND, reason: Reason.DENIED, failed: 7n });
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
    'source_app="client"',
    'source_canonical_service="client"',
    'source_version="v1"',
    'source_cluster="Kubernetes"',
    'destination_zone="z"',
  ];
  const shownValue = (name: string): string | undefined => {
    const lines = text.split('\n').filter((line) => line.startsWith(`${name}{`));
    return lines.find((line) => labels.every((label) => line.includes(label)))?.split('} ')[1];
  };
  t.equal(shownValue('istio_tcp_connections_opened_total'), '3');
  t.equal(shownValue('istio_tcp_connections_closed_total'), '2');
  t.equal(shownValue('istio_tcp_received_bytes_total'), '100');
  t.equal(shownValue('istio_tcp_sent_bytes_total'), '2000');
  t.same(observer.open, { source: 1n, destination: 0n });
  t.match(text, /^istio_tcp_connections_failed_total\{reporter="destination",.*"DENY".*\} 7$/m);
});

t.test('what direct connections measured is added up', async (t) => {
  const { metrics, observer, see } = setUp();
  const counts = (...some: number[]): bigint[] =>
    [...some, ...new Array(11)].slice(0, 11).map((n) => BigInt(n ?? 0));
  see({
    ...outbound,
    direct: true,
    closed: 3n,
    retransmits: 4n,
    rttUs: 100n,
    rttCounts: counts(2, 1),
  });
  see({
    ...outbound,
    direct: true,
    closed: 1n,
    retransmits: 1n,
    rttUs: 2_000_000n,
    rttCounts: counts(...new Array(10).fill(0), 1),
  });
  see({ ...outbound, closed: 1n });
  const text = await metrics.text();
  t.match(text, /^weft_tcp_retransmitted_segments_total\{.*policy="none".*\} 5$/m);
  const value = (line: string): string | undefined =>
    new RegExp(`^weft_tcp_rtt_seconds_${line}`, 'm').exec(text)?.[1];
  t.equal(value('bucket\\{.*le="0.000025"\\} (.*)$'), '2');
  t.equal(value('bucket\\{.*le="0.00005"\\} (.*)$'), '3');
  t.equal(value('bucket\\{.*le="1"\\} (.*)$'), '3');
  t.equal(value('bucket\\{.*le="\\+Inf"\\} (.*)$'), '4');
  t.equal(value('count\\{.*\\} (.*)$'), '4');
  t.equal(value('sum\\{.*\\} (.*)$'), '2.0001');
  t.notMatch(text, /weft_tcp_rtt_seconds_count\{.*mutual_tls/, 'nothing is measured of others');
  t.equal(observer.open.source, -1n, 'the proxy does not carry them');
});

t.test('names nobody knows are "unknown", and lost events are counted', async (t) => {
  const { metrics, observer, see } = setUp();
  see({ opened: 1n });
  t.match(await metrics.text(), /source_workload="unknown",.*source_workload_namespace="unknown"/);
  observer.onEvents(create(EventBatchSchema, { dropped: 3n }));
  t.equal(observer.dropped, 3n);
});
