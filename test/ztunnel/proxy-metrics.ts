// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { type Family, familyText } from '../../ztunnel/metrics.ts';
import type { PodEntry } from '../../ztunnel/pods.ts';
import {
  buildFamily,
  captureFamilies,
  certificateFamilies,
  cryptoFamilies,
  dnsFamilies,
  engineFamilies,
  openFamily,
  podFamilies,
  xdsFamilies,
} from '../../ztunnel/proxy-metrics.ts';

const textOf = (families: readonly Family[]): string => families.map(familyText).join('');

const claim = { name: 'client', namespace: 'demo', serviceAccount: 'client' };
const spiffeId = 'spiffe://cluster.local/ns/demo/sa/client';
const pods: PodEntry[] = [
  { uid: 'u1', claim, spiffeId, running: true },
  { uid: 'u2', claim, spiffeId: '', running: false },
];

t.test('version, open connections and the counters of the engine', (t) => {
  const text = textOf([
    buildFamily('1.2.3'),
    openFamily({ source: 3n, destination: 0n }),
    ...engineFamilies({ streams_opened: 7n }),
  ]);
  t.match(text, /^istio_build\{component="ztunnel",tag="1\.2\.3"\} 1$/m);
  t.match(text, /^istio_tcp_sockets_open\{reporter="source"\} 3$/m);
  t.match(text, /^istio_tcp_sockets_open\{reporter="destination"\} 0$/m);
  t.match(text, /^# TYPE weft_streams_opened counter\nweft_streams_opened 7$/m);
  t.end();
});

t.test('what programs in the kernel do, and which gates refuse a tier of theirs', (t) => {
  const counters = { outbound_captured: 3, sockmap_redirected_bytes: 9 };
  const some = textOf(
    captureFamilies({ kernelPods: 2, counters, directSlots: 3, sockmapRefused: ['splice'] }),
  );
  t.match(some, /^weft_capture_kernel_pods 2$/m);
  t.match(some, /^weft_direct_slots_taken 3$/m);
  t.match(some, /^weft_capture_total\{end="sockmap_redirected_bytes"\} 9$/m);
  t.match(some, /^weft_sockmap_refused\{gate="splice"\} 1$/m);
  const none = textOf(
    captureFamilies({ kernelPods: 0, counters: {}, directSlots: 0, sockmapRefused: [] }),
  );
  t.notMatch(none, /weft_sockmap_refused/);
  t.end();
});

t.test('what handshakes computed', (t) => {
  const lanes = [0, 0, 0, 0, 0, 0, 0, 5];
  const none = { lanes: lanes.map(() => 0), scalar: 0, laneSeconds: 0, scalarSeconds: 0 };
  const operations = {
    ...{ x25519_derive: none, x25519_keygen: none, ecdsa_sign: none },
    ...{ p256_keygen: none, p256_derive: none },
    ecdsa_verify: { lanes, scalar: 3, laneSeconds: 0.5, scalarSeconds: 0.25 },
  };
  const text = textOf(cryptoFamilies({ mode: 'avx512', operations, inlined: 2, keyShares: 8 }));
  t.match(text, /^weft_crypto_mode\{mode="avx512"\} 1$/m);
  t.match(text, /^weft_crypto_batches_total\{operation="ecdsa_verify",lanes="8"\} 5$/m);
  t.match(text, /^weft_crypto_scalar_total\{operation="ecdsa_verify"\} 3$/m);
  t.match(text, /^weft_crypto_seconds_total\{operation="ecdsa_verify",how="lanes"\} 0\.5$/m);
  t.match(text, /^weft_crypto_seconds_total\{operation="ecdsa_verify",how="scalar"\} 0\.25$/m);
  t.match(text, /^weft_crypto_inlined_total 2$/m);
  t.match(text, /^weft_crypto_key_shares_total 8$/m);
  t.end();
});

t.test('the stream to the control plane, also before there is one', (t) => {
  const counts = {
    terminations: new Map([['Error', 2]]),
    messages: new Map([['type.googleapis.com/x', 5]]),
    bytes: new Map([['type.googleapis.com/x', 1234]]),
    rejected: 1,
  };
  const text = textOf(xdsFamilies(counts, true));
  t.match(text, /^istio_xds_connection_terminations_total\{reason="Error"\} 2$/m);
  t.match(text, /^istio_xds_message_total\{url="type\.googleapis\.com\/x"\} 5$/m);
  t.match(text, /^istio_xds_message_bytes_total\{url="type\.googleapis\.com\/x"\} 1234$/m);
  t.match(text, /^weft_xds_rejected_total 1$/m);
  t.match(text, /^weft_xds_connected 1$/m);
  t.match(textOf(xdsFamilies(undefined, false)), /^weft_xds_connected 0$/m);
  t.end();
});

t.test('pods and certificates', (t) => {
  const text = textOf([
    ...podFamilies(pods, { started: 4, stopped: 3 }, true),
    ...certificateFamilies(2, 1_700_000_000_500),
  ]);
  t.match(text, /^weft_zds_synced 1$/m);
  t.match(text, /^workload_manager_active_proxy_count 1$/m);
  t.match(text, /^workload_manager_pending_proxy_count 1$/m);
  t.match(text, /^workload_manager_proxies_started_total 4$/m);
  t.match(text, /^workload_manager_proxies_stopped_total 3$/m);
  t.match(text, /^weft_certificates 2$/m);
  t.match(text, /^weft_certificate_first_expiry_seconds 1700000000\.5$/m);
  t.notMatch(textOf(certificateFamilies(0, undefined)), /first_expiry/);
  t.end();
});

t.test('the DNS of each pod; the histogram is cumulative and whole', (t) => {
  const counts = {
    ...{ requests: 9, dropped: 1, upstreamRequests: 4, upstreamFailures: 1, upstreamDone: 3 },
    ...{ upstreamSeconds: 0.75, upstreamBuckets: [0, 1, 1, 2, 2, 3, 3, 3, 3] },
  };
  const all = new Map([
    ['u1', counts],
    ['gone', counts],
  ]);
  const text = textOf(dnsFamilies(all, pods, 2));
  const labels = `source_workload="client",source_workload_namespace="demo",source_principal="${spiffeId}"`;
  t.ok(text.includes(`istio_dns_requests_total{${labels}} 9\n`));
  t.ok(text.includes(`istio_dns_upstream_requests_total{${labels}} 4\n`));
  t.ok(text.includes(`istio_dns_upstream_failures_total{${labels}} 1\n`));
  const name = 'istio_dns_upstream_request_duration_seconds';
  t.ok(text.includes(`${name}_bucket{${labels},le="0.001"} 0\n`));
  t.ok(text.includes(`${name}_bucket{${labels},le="0.005"} 1\n`));
  t.ok(text.includes(`${name}_bucket{${labels},le="+Inf"} 3\n`));
  t.ok(text.includes(`${name}_sum{${labels}} 0.75\n`));
  t.ok(text.includes(`${name}_count{${labels}} 3\n`));
  t.match(text, /source_workload="gone",source_workload_namespace="unknown"/);
  t.match(text, /^weft_dns_restarts_total 2$/m);
  t.end();
});
