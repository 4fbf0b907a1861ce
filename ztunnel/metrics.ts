// SPDX-License-Identifier: Apache-2.0
// The metrics of the node proxy, under Istio's names where Istio has one.
import { Counter, Registry } from 'prom-client';
import { RttHistogram } from './rtt-histogram.ts';

const endNames = [
  'workload',
  'canonical_service',
  'canonical_revision',
  'workload_namespace',
  'principal',
  'app',
  'version',
  'cluster',
  'region',
  'zone',
] as const;
const otherNames = [
  'destination_service',
  'destination_service_name',
  'destination_service_namespace',
  'connection_security_policy',
  'response_flags',
  'request_protocol',
] as const;
const labelNames: readonly string[] = [
  'reporter',
  ...endNames.map((name) => `source_${name}`),
  ...endNames.map((name) => `destination_${name}`),
  ...otherNames,
];

/** One end of a connection. An empty value is shown as "unknown". */
export type EndLabels = Readonly<Record<(typeof endNames)[number], string>>;

/** The labels of one connection. */
export type ConnectionLabels = Readonly<Record<(typeof otherNames)[number], string>> & {
  readonly reporter: string;
  readonly source: EndLabels;
  readonly destination: EndLabels;
};

/** What is counted of connections. */
export type ConnectionMetric =
  | 'opened'
  | 'closed'
  | 'failed'
  | 'sent'
  | 'received'
  | 'retransmitted';

/** Most label sets that are kept apart; names past it are counted together as "other". */
export const seriesMax = 10_000;
/** A label set that nothing was counted for in this time is dropped, in milliseconds. */
export const seriesIdleMs = 3_600_000;

/** One value of a family. */
export interface Sample {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number | bigint;
  /** What stands behind the family's name: "_bucket", "_sum" or "_count" of a histogram. */
  readonly suffix?: string;
}

/** One metric that is kept elsewhere and read at each scrape. */
export interface Family {
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly samples: readonly Sample[];
}

/** What else is shown. */
export type FamilySource = () => readonly Family[] | Promise<readonly Family[]>;

/** Settings that only tests change. */
export interface MetricsOptions {
  readonly seriesMax?: number;
  readonly seriesIdleMs?: number;
  readonly now?: () => number;
}

// Those with a handful of values; they are kept when the rest becomes "other".
const closedLabels: ReadonlySet<string> = new Set([
  'reporter',
  'connection_security_policy',
  'response_flags',
  'request_protocol',
]);

const names: Readonly<Record<ConnectionMetric, readonly [name: string, help: string]>> = {
  opened: ['istio_tcp_connections_opened_total', 'Connections opened.'],
  closed: ['istio_tcp_connections_closed_total', 'Connections closed.'],
  failed: ['istio_tcp_connections_failed_total', 'Connections refused or failed.'],
  sent: ['istio_tcp_sent_bytes_total', 'Bytes sent in answer: from destination to source.'],
  received: ['istio_tcp_received_bytes_total', 'Bytes received as request: from the source.'],
  retransmitted: [
    'weft_tcp_retransmitted_segments_total',
    'Segments that sources of direct connections sent again.',
  ],
};

function valuesOf(labels: ConnectionLabels): string[] {
  const { source, destination, ...other } = labels;
  const values = [
    other.reporter,
    ...endNames.map((name) => source[name]),
    ...endNames.map((name) => destination[name]),
    ...otherNames.map((name) => other[name]),
  ];
  return values.map((value) => value || 'unknown');
}

function escaped(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

/** A family in the Prometheus text format; nothing when it has no values. */
export function familyText({ name, type, help, samples }: Family): string {
  if (samples.length === 0) {
    return '';
  }
  const lines = samples.map(({ labels = {}, value, suffix = '' }) => {
    const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escaped(text)}"`);
    const set = pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
    return `${name}${suffix}${set} ${value}\n`;
  });
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('')}`;
}

interface Series {
  readonly labels: Record<string, string>;
  used: number;
}

/** Counters by connection labels, and the numbers that others keep. Main thread only. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #counters: Readonly<Record<ConnectionMetric, Counter>>;
  readonly #rtt = new RttHistogram();
  readonly #series = new Map<string, Series>();
  readonly #sources: readonly FamilySource[];
  readonly #seriesMax: number;
  readonly #idleMs: number;
  readonly #now: () => number;
  #expired = 0;

  /** @param sources read at each scrape; one that fails is left out of it. */
  constructor(sources: readonly FamilySource[], options: MetricsOptions = {}) {
    this.#sources = sources;
    this.#seriesMax = options.seriesMax ?? seriesMax;
    this.#idleMs = options.seriesIdleMs ?? seriesIdleMs;
    this.#now = options.now ?? Date.now;
    const counter = (metric: ConnectionMetric): Counter => {
      const [name, help] = names[metric];
      return new Counter({ name, help, labelNames, registers: [this.#registry] });
    };
    this.#counters = {
      opened: counter('opened'),
      closed: counter('closed'),
      failed: counter('failed'),
      sent: counter('sent'),
      received: counter('received'),
      retransmitted: counter('retransmitted'),
    };
  }

  /** The content type of `text`. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  /** How many label sets are kept, and how many were dropped for being idle. */
  get series(): { readonly kept: number; readonly expired: number } {
    return { kept: this.#series.size, expired: this.#expired };
  }

  /** Adds `amount` to one counter. */
  add(metric: ConnectionMetric, labels: ConnectionLabels, amount: number): void {
    this.#counters[metric].inc(this.#bounded(valuesOf(labels)), amount);
  }

  /** Adds round-trip times: how many, of which length, and their sum; see RttHistogram. */
  addRtt(labels: ConnectionLabels, counts: readonly number[], seconds: number): void {
    this.#rtt.add(this.#bounded(valuesOf(labels)), counts, seconds);
  }

  /** Everything, in the Prometheus text format. */
  async text(): Promise<string> {
    this.#expire();
    const own = await this.#registry.metrics();
    const settled = await Promise.allSettled(this.#sources.map(async (source) => source()));
    const families = settled.flatMap((each) => (each.status === 'fulfilled' ? each.value : []));
    return own + [this.#rtt.family(), ...families].map(familyText).join('');
  }

  #expire(): void {
    const oldest = this.#now() - this.#idleMs;
    for (const [key, { labels, used }] of this.#series) {
      if (used < oldest) {
        this.#series.delete(key);
        this.#expired += 1;
        for (const counter of Object.values(this.#counters)) {
          counter.remove(labels);
        }
        this.#rtt.remove(labels);
      }
    }
  }

  #bounded(values: readonly string[]): Record<string, string> {
    const key = values.join('\0');
    const known = this.#series.get(key);
    if (known !== undefined) {
      known.used = this.#now();
      return known.labels;
    }
    const named = Object.fromEntries(labelNames.map((name, at) => [name, values[at] ?? '']));
    if (this.#series.size >= this.#seriesMax) {
      this.#expire();
    }
    if (this.#series.size < this.#seriesMax) {
      this.#series.set(key, { labels: named, used: this.#now() });
      return named;
    }
    return Object.fromEntries(
      Object.entries(named).map(([name, value]) => [
        name,
        closedLabels.has(name) ? value : 'other',
      ]),
    );
  }
}
