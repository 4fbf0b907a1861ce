// SPDX-License-Identifier: Apache-2.0
// The metrics of the node proxy, under Istio's names where Istio has one.
import { Counter, Registry } from 'prom-client';

const labelNames = [
  'reporter',
  'source_workload',
  'source_workload_namespace',
  'source_principal',
  'destination_workload',
  'destination_workload_namespace',
  'destination_principal',
  'destination_service',
  'destination_service_name',
  'destination_service_namespace',
  'connection_security_policy',
  'response_flags',
  'request_protocol',
] as const;

/** The labels of one connection. An empty value is shown as "unknown". */
export type ConnectionLabels = Readonly<Record<(typeof labelNames)[number], string>>;

/** What is counted of connections. */
export type ConnectionMetric = 'opened' | 'closed' | 'failed' | 'sent' | 'received';

/** Most label sets that are kept apart; names past it are counted together as "other". */
export const seriesMax = 10_000;

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
};

/** Counters by connection labels, and the numbers that others keep. Main thread only. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #counters: Readonly<Record<ConnectionMetric, Counter>>;
  readonly #series = new Set<string>();
  readonly #seriesMax: number;
  readonly #extra: () => Readonly<Record<string, bigint | number>>;

  /**
   * @param extra numbers shown as `weft_NAME`, read at each scrape.
   * @param limit most label sets; `seriesMax` unless a test says otherwise.
   */
  constructor(extra: () => Readonly<Record<string, bigint | number>>, limit: number = seriesMax) {
    this.#extra = extra;
    this.#seriesMax = limit;
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
    };
  }

  /** The content type of `text`. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  /** Adds `amount` to one counter. */
  add(metric: ConnectionMetric, labels: ConnectionLabels, amount: number): void {
    this.#counters[metric].inc(this.#bounded(labels), amount);
  }

  /** Everything, in the Prometheus text format. */
  async text(): Promise<string> {
    const own = await this.#registry.metrics();
    const extra = Object.entries(this.#extra()).map(
      ([name, value]) => `# TYPE weft_${name} counter\nweft_${name} ${value}\n`,
    );
    return own + extra.join('');
  }

  #bounded(labels: ConnectionLabels): Record<string, string> {
    const named = Object.fromEntries(
      labelNames.map((name) => [name, labels[name] === '' ? 'unknown' : labels[name]]),
    );
    const series = JSON.stringify(Object.values(named));
    if (this.#series.has(series)) {
      return named;
    }
    if (this.#series.size < this.#seriesMax) {
      this.#series.add(series);
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
