// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import {
  type ConnectionLabels,
  type EndLabels,
  type Family,
  familyText,
  Metrics,
} from '../../ztunnel/metrics.ts';

const nobody: EndLabels = {
  ...{ workload: '', canonical_service: '', canonical_revision: '', workload_namespace: '' },
  ...{ principal: '', app: '', version: '', cluster: '', region: '', zone: '' },
};
const client: EndLabels = {
  ...{ workload: 'client', canonical_service: 'client', canonical_revision: 'v1' },
  ...{ workload_namespace: 'demo', principal: 'spiffe://cluster.local/ns/demo/sa/client' },
  ...{ app: 'client', version: 'v1', cluster: 'Kubernetes', region: 'r', zone: 'z' },
};
const labels: ConnectionLabels = {
  reporter: 'source',
  source: client,
  destination: nobody,
  destination_service: '',
  destination_service_name: '',
  destination_service_namespace: '',
  connection_security_policy: 'mutual_tls',
  response_flags: '-',
  request_protocol: 'tcp',
};
const from = (workload: string): ConnectionLabels => {
  return { ...labels, source: { ...client, workload } };
};

t.test('connections are counted by label under the names of Istio', async (t) => {
  const metrics = new Metrics([]);
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

t.test('every label of Istio is there', async (t) => {
  const metrics = new Metrics([]);
  metrics.add('opened', labels, 1);
  const [, set = ''] = /opened_total\{(.*)\} 1/.exec(await metrics.text()) ?? [];
  const ends = ['workload', 'canonical_service', 'canonical_revision', 'workload_namespace'];
  ends.push('principal', 'app', 'version', 'cluster', 'region', 'zone');
  const wanted = [
    ...ends.flatMap((name) => [`source_${name}`, `destination_${name}`]),
    ...['reporter', 'destination_service', 'destination_service_name', 'response_flags'],
    ...['destination_service_namespace', 'connection_security_policy', 'request_protocol'],
  ];
  const seen = [...set.matchAll(/(\w+)="/g)].map(([, name]) => name);
  t.same(seen.sort(), wanted.sort());
});

t.test(
  'numbers kept by others are read at each scrape; a source that fails is left out',
  async (t) => {
    let value = 1n;
    const own = (): Family[] => [
      { name: 'weft_x', type: 'counter', help: 'X.', samples: [{ value }] },
      { name: 'weft_none', type: 'gauge', help: 'None.', samples: [] },
    ];
    const broken = (): Promise<Family[]> => Promise.reject(new Error('no'));
    const metrics = new Metrics([broken, own]);
    t.match(await metrics.text(), /^# HELP weft_x X\.\n# TYPE weft_x counter\nweft_x 1$/m);
    value = 2n;
    const text = await metrics.text();
    t.match(text, /^weft_x 2$/m);
    t.notMatch(text, /weft_none/);
  },
);

t.test('labels cannot break out of their quotes', (t) => {
  const samples = [{ labels: { a: 'x"\\\n' }, value: 1, suffix: '_sum' }];
  const text = familyText({ name: 'm', type: 'histogram', help: 'M.', samples });
  t.match(text, 'm_sum{a="x\\"\\\\\\n"} 1\n');
  t.end();
});

t.test('an idle series is dropped, and begins anew when it comes back', async (t) => {
  let time = 0;
  const metrics = new Metrics([], { seriesIdleMs: 1_000, now: () => time });
  metrics.add('opened', from('one'), 5);
  time = 600;
  metrics.add('opened', from('two'), 1);
  time = 1_000;
  t.match(await metrics.text(), /source_workload="one".*\} 5$/m, 'at the edge it is kept');
  time = 1_001;
  const text = await metrics.text();
  t.notMatch(text, /source_workload="one"/);
  t.match(text, /source_workload="two".*\} 1$/m);
  t.same(metrics.series, { kept: 1, expired: 1 });
  metrics.add('opened', from('one'), 1);
  t.match(await metrics.text(), /source_workload="one".*\} 1$/m);
});

t.test('round-trip times go with their series', async (t) => {
  let time = 0;
  const metrics = new Metrics([], { seriesIdleMs: 1_000, now: () => time });
  metrics.addRtt(from('one'), [1], 0.00001);
  t.match(await metrics.text(), /^weft_tcp_rtt_seconds_count\{.*source_workload="one".*\} 1$/m);
  time = 1_001;
  t.notMatch(await metrics.text(), /weft_tcp_rtt/);
});

t.test('at the maximum, idle series make room first', async (t) => {
  let time = 0;
  const metrics = new Metrics([], { seriesMax: 1, seriesIdleMs: 1_000, now: () => time });
  metrics.add('opened', from('one'), 1);
  time = 2_000;
  metrics.add('opened', from('two'), 1);
  t.match(await metrics.text(), /source_workload="two".*\} 1$/m);
  t.same(metrics.series, { kept: 1, expired: 1 });
});

t.test('past the maximum of series, names become "other" and flags stay', async (t) => {
  const metrics = new Metrics([], { seriesMax: 2 });
  metrics.add('opened', from('one'), 1);
  metrics.add('opened', from('two'), 1);
  metrics.add('opened', from('three'), 1);
  metrics.add('opened', from('four'), 1);
  metrics.add('opened', from('one'), 1);
  const text = await metrics.text();
  t.match(text, /source_workload="one".*\} 2$/m, 'a series that is kept goes on');
  t.match(text, /source_workload="two".*\} 1$/m);
  t.notMatch(text, /source_workload="three"/);
  t.match(text, /reporter="source",source_workload="other".*mutual_tls.*\} 2$/m);
});
