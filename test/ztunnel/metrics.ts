// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { type ConnectionLabels, Metrics } from '../../ztunnel/metrics.ts';

const labels: ConnectionLabels = {
  reporter: 'source',
  source_workload: 'client',
  source_workload_namespace: 'demo',
  source_principal: 'spiffe://cluster.local/ns/demo/sa/client',
  destination_workload: '',
  destination_workload_namespace: '',
  destination_principal: '',
  destination_service: '',
  destination_service_name: '',
  destination_service_namespace: '',
  connection_security_policy: 'mutual_tls',
  response_flags: '-',
  request_protocol: 'tcp',
};

t.test('connections are counted by label under the names of Istio', async (t) => {
  const metrics = new Metrics(() => ({}));
  metrics.add('opened', labels, 1);
  metrics.add('opened', labels, 1);
  metrics.add('closed', labels, 1);
  metrics.add('failed', labels, 1);
  metrics.add('sent', labels, 10);
  metrics.add('received', labels, 20);
  const text = await metrics.text();
  t.match(
    text,
    /^istio_tcp_connections_opened_total\{reporter="source",.*source_workload="client".*\} 2$/m,
  );
  t.match(text, /^istio_tcp_connections_closed_total\{.*\} 1$/m);
  t.match(text, /^istio_tcp_connections_failed_total\{.*\} 1$/m);
  t.match(text, /^istio_tcp_sent_bytes_total\{.*\} 10$/m);
  t.match(text, /^istio_tcp_received_bytes_total\{.*\} 20$/m);
  t.match(text, /destination_workload="unknown"/, 'what is not known says so');
});

t.test('numbers kept by others are read at each scrape', async (t) => {
  let n = 1n;
  const metrics = new Metrics(() => ({ streams_opened: n }));
  t.match(await metrics.text(), /^weft_streams_opened 1$/m);
  n = 2n;
  t.match(await metrics.text(), /^weft_streams_opened 2$/m);
});

t.test('past the maximum of series, names become "other" and flags stay', async (t) => {
  const metrics = new Metrics(() => ({}), 2);
  metrics.add('opened', { ...labels, source_workload: 'one' }, 1);
  metrics.add('opened', { ...labels, source_workload: 'two' }, 1);
  metrics.add('opened', { ...labels, source_workload: 'three' }, 1);
  metrics.add('opened', { ...labels, source_workload: 'four' }, 1);
  metrics.add('opened', { ...labels, source_workload: 'one' }, 1);
  const text = await metrics.text();
  t.match(text, /source_workload="one".*\} 2$/m, 'a series that is kept goes on');
  t.match(text, /source_workload="two".*\} 1$/m);
  t.notMatch(text, /source_workload="three"/);
  t.match(text, /reporter="source",source_workload="other".*mutual_tls.*\} 2$/m);
});
