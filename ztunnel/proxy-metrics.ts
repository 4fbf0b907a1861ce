// SPDX-License-Identifier: Apache-2.0
// The numbers that the parts of the node proxy keep, as metrics: under Istio's names where it has
// one, else under ours ("weft_").
import type { CaptureStats, CryptoStats } from '../native/index.ts';
import type { XdsCounts } from '../src/xds/client.ts';
import { durationBuckets, type PodDnsCounts } from './dns/pod-server.ts';
import type { Family, Sample } from './metrics.ts';
import type { PodEntry } from './pods.ts';

const counter = (name: string, help: string, samples: readonly Sample[]): Family => {
  return { name, type: 'counter', help, samples };
};
const gauge = (name: string, help: string, value: number): Family => {
  return { name, type: 'gauge', help, samples: [{ value }] };
};

const byLabel = (label: string, counts: ReadonlyMap<string, number>): Sample[] =>
  [...counts].map(([text, value]) => ({ labels: { [label]: text }, value }));

/** Connections of the proxy that are open, by the end that reports them. */
export function openFamily(open: Readonly<Record<'source' | 'destination', bigint>>): Family {
  const samples = (['source', 'destination'] as const).map((reporter) => {
    return { labels: { reporter }, value: open[reporter] };
  });
  const help = 'Connections that this proxy carries.';
  return { name: 'istio_tcp_sockets_open', type: 'gauge', help, samples };
}

/** What was built. */
export function buildFamily(tag: string): Family {
  const samples = [{ labels: { component: 'ztunnel', tag }, value: 1 }];
  return { name: 'istio_build', type: 'gauge', help: 'The version of this program.', samples };
}

/** How many label sets of connections are kept. */
export function seriesFamily(kept: number): Family {
  return gauge('weft_metric_series', 'Label sets of connections that are kept.', kept);
}

/** The engine's counters. */
export function engineFamilies(counters: Readonly<Record<string, bigint | number>>): Family[] {
  return Object.entries(counters).map(([name, value]) =>
    counter(`weft_${name}`, `The counter ${name} of the engine.`, [{ value }]),
  );
}

/** What programs in the kernel do. */
export function captureFamilies(stats: CaptureStats): Family[] {
  const ends = new Map(Object.entries(stats.counters));
  const slots = 'Slots that pods have taken for direct connections, whichever proxy was there.';
  return [
    gauge('weft_capture_kernel_pods', 'Pods that are captured in the kernel.', stats.kernelPods),
    gauge('weft_direct_slots_taken', slots, stats.directSlots),
    counter(
      'weft_capture_total',
      'Ends of programs in the kernel, by which way.',
      byLabel('end', ends),
    ),
    {
      name: 'weft_sockmap_refused',
      type: 'gauge',
      help: 'Gates that keep the sockmap tier from pods which ask for it.',
      samples: byLabel('gate', new Map(stats.sockmapRefused.map((gate) => [gate, 1]))),
    },
  ];
}

/** What handshakes computed. */
export function cryptoFamilies(stats: CryptoStats): Family[] {
  const { mode, operations, inlined, keyShares } = stats;
  const all = Object.entries(operations);
  const by = (value: (of: (typeof all)[number][1]) => number): Sample[] =>
    all.map(([operation, of]) => ({ labels: { operation }, value: value(of) }));
  const calls = all.flatMap(([operation, { lanes }]) =>
    lanes.map((value, index) => ({ labels: { operation, lanes: String(index + 1) }, value })),
  );
  const seconds = all.flatMap(([operation, { laneSeconds, scalarSeconds }]) => [
    { labels: { operation, how: 'lanes' }, value: laneSeconds },
    { labels: { operation, how: 'scalar' }, value: scalarSeconds },
  ]);
  return [
    {
      name: 'weft_crypto_mode',
      type: 'gauge',
      help: 'How handshakes compute.',
      samples: [{ labels: { mode }, value: 1 }],
    },
    counter(
      'weft_crypto_batches_total',
      'Calls of eight-lane kernels, by how many lanes were filled.',
      calls,
    ),
    counter(
      'weft_crypto_scalar_total',
      'Operations of handshakes that were gathered, and done one after the other.',
      by(({ scalar }) => scalar),
    ),
    counter(
      'weft_crypto_seconds_total',
      'Time in operations that were gathered: in calls of eight-lane kernels, or one after the other.',
      seconds,
    ),
    counter(
      'weft_crypto_inlined_total',
      'Steps of handshakes that found no fiber, and computed by themselves.',
      [{ value: inlined }],
    ),
    counter(
      'weft_crypto_key_shares_total',
      'Key shares made before a handshake asked; they count in no operation.',
      [{ value: keyShares }],
    ),
  ];
}

/** The stream to the control plane. */
export function xdsFamilies(counts: XdsCounts | undefined, live: boolean): Family[] {
  const { terminations, messages, bytes, rejected } = counts ?? {
    ...{ terminations: new Map(), messages: new Map(), bytes: new Map(), rejected: 0 },
  };
  return [
    counter(
      'istio_xds_connection_terminations_total',
      'Streams to the control plane that ended.',
      byLabel('reason', terminations),
    ),
    counter('istio_xds_message_total', 'Responses received.', byLabel('url', messages)),
    counter('istio_xds_message_bytes_total', 'Bytes of resources.', byLabel('url', bytes)),
    counter('weft_xds_rejected_total', 'Resources refused by name.', [{ value: rejected }]),
    gauge('weft_xds_connected', 'Whether the control plane answers on the stream.', Number(live)),
  ];
}

/** How many pods were started and stopped. */
export interface PodCounts {
  readonly started: number;
  readonly stopped: number;
}

/** The pods, as Istio's workload manager counts them. */
export function podFamilies(
  pods: readonly PodEntry[],
  counts: PodCounts,
  synced: boolean,
): Family[] {
  const active = pods.filter(({ running }) => running).length;
  const pending = pods.length - active;
  return [
    gauge('weft_zds_synced', "Whether the CNI agent's pods are all carried.", Number(synced)),
    gauge('weft_pods', 'Pods that are carried.', active),
    gauge('workload_manager_active_proxy_count', 'Pods that are carried.', active),
    gauge('workload_manager_pending_proxy_count', 'Pods that wait to be carried.', pending),
    counter('workload_manager_proxies_started_total', 'Pods started.', [{ value: counts.started }]),
    counter('workload_manager_proxies_stopped_total', 'Pods stopped.', [{ value: counts.stopped }]),
  ];
}

/** The certificates; `firstEnd` in milliseconds since 1970. */
export function certificateFamilies(count: number, firstEnd: number | undefined): Family[] {
  const end = firstEnd === undefined ? [] : [{ value: firstEnd / 1000 }];
  return [
    gauge('weft_certificates', 'Identities that have a certificate.', count),
    {
      name: 'weft_certificate_first_expiry_seconds',
      type: 'gauge',
      help: 'When the first certificate ends, in seconds since 1970.',
      samples: end,
    },
  ];
}

function dnsLabels(pod: PodEntry | undefined, uid: string): Record<string, string> {
  const unknown = { name: uid, namespace: 'unknown' };
  const { name, namespace } = pod?.claim ?? unknown;
  return {
    source_workload: name,
    source_workload_namespace: namespace,
    source_principal: pod?.spiffeId || 'unknown',
  };
}

function durations(labels: Record<string, string>, counts: PodDnsCounts): Sample[] {
  const { upstreamBuckets, upstreamDone, upstreamSeconds } = counts;
  const buckets = durationBuckets.map((bound, at): Sample => {
    const value = upstreamBuckets[at] ?? 0;
    return { labels: { ...labels, le: String(bound) }, value, suffix: '_bucket' };
  });
  return [
    ...buckets,
    { labels: { ...labels, le: '+Inf' }, value: upstreamDone, suffix: '_bucket' },
    { labels, value: upstreamSeconds, suffix: '_sum' },
    { labels, value: upstreamDone, suffix: '_count' },
  ];
}

/** The DNS of each pod. */
export function dnsFamilies(
  counts: ReadonlyMap<string, PodDnsCounts>,
  pods: readonly PodEntry[],
  restarts: number,
): Family[] {
  const byUid = new Map(pods.map((pod) => [pod.uid, pod]));
  const rows = [...counts].map(([uid, each]) => {
    return { labels: dnsLabels(byUid.get(uid), uid), each };
  });
  const sum = (value: (each: PodDnsCounts) => number): Sample[] =>
    rows.map(({ labels, each }) => ({ labels, value: value(each) }));
  return [
    counter(
      'istio_dns_requests_total',
      'DNS queries.',
      sum(({ requests }) => requests),
    ),
    counter(
      'istio_dns_upstream_requests_total',
      "DNS queries put to a pod's own resolvers.",
      sum(({ upstreamRequests }) => upstreamRequests),
    ),
    counter(
      'istio_dns_upstream_failures_total',
      'Of those, the ones that no resolver answered.',
      sum(({ upstreamFailures }) => upstreamFailures),
    ),
    {
      name: 'istio_dns_upstream_request_duration_seconds',
      type: 'histogram',
      help: 'How long resolvers took.',
      samples: rows.flatMap(({ labels, each }) => durations(labels, each)),
    },
    counter('weft_dns_dropped_total', 'Queries over a limit or not readable.', [
      ...sum(({ dropped }) => dropped),
    ]),
    counter('weft_dns_restarts_total', 'Starts of the DNS thread after the first.', [
      { value: restarts },
    ]),
  ];
}
