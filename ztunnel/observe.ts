// SPDX-License-Identifier: Apache-2.0
// From the engine's events to the access log and the metrics. Nothing here feeds back into intent.
import { Direction, Reason } from '../native/gen/events_pb.js';
import type { ConnectionTotals, EventBatch } from '../native/index.ts';
import type { Logger, LogLevel } from '../src/lib/log.ts';
import type { ConnectionLabels, ConnectionMetric, EndLabels, Metrics } from './metrics.ts';
import type { TableService, TableWorkload } from './translate.ts';

/** Where names come from: the applied control plane state. */
export interface Directory {
  workload(uid: string): TableWorkload | undefined;
  service(key: string): TableService | undefined;
}

// Istio's flags where it has one.
const flags: Readonly<Record<Reason, string>> = {
  [Reason.NONE]: '-',
  [Reason.DENIED]: 'DENY',
  [Reason.TLS]: 'TLS_FAILURE',
  [Reason.H2]: 'H2_HANDSHAKE_FAILURE',
  [Reason.IDENTITY]: 'IDENTITY_ERROR',
  [Reason.CONNECT]: 'CONNECT',
  [Reason.NO_ROUTE]: 'NO_ROUTE',
  [Reason.RESET]: 'RESET',
  [Reason.LIMIT]: 'LIMIT',
  [Reason.DRAINED]: 'DRAINED',
  [Reason.BAD_REQUEST]: 'BAD_REQUEST',
};

function serviceParts(key: string): { readonly namespace: string; readonly hostname: string } {
  const slash = key.indexOf('/');
  return { namespace: key.slice(0, Math.max(0, slash)), hostname: key.slice(slash + 1) };
}

// As in Istio, the application is the canonical service, and its version the canonical revision.
// The kernel vouches for who connects directly, and nothing is encrypted there.
function securityOf({ mutualTls, direct }: ConnectionTotals): string {
  return direct ? 'none' : mutualTls ? 'mutual_tls' : 'unknown';
}

function endOf(workload: TableWorkload | undefined, principal: string): EndLabels {
  const service = workload?.canonicalName ?? '';
  const revision = workload?.canonicalRevision ?? '';
  return {
    workload: workload?.workloadName || workload?.name || '',
    workload_namespace: workload?.namespace ?? '',
    principal,
    canonical_service: service,
    canonical_revision: revision,
    app: service,
    version: revision,
    cluster: workload?.cluster ?? '',
    region: workload?.region ?? '',
    zone: workload?.zone ?? '',
  };
}

/** Writes the access log and counts connections. Main thread only. */
export class Observer {
  readonly #directory: Directory;
  readonly #lines: (bytes: Uint8Array) => void;
  readonly #log: Logger;
  readonly #metrics: Metrics;
  readonly #open = { source: 0n, destination: 0n };
  #dropped = 0n;
  #shown = true;

  /** @param lines takes whole lines of the access log, as the engine made them. */
  constructor(
    directory: Directory,
    lines: (bytes: Uint8Array) => void,
    log: Logger,
    metrics: Metrics,
  ) {
    this.#directory = directory;
    this.#lines = lines;
    this.#log = log.child({ target: 'access' });
    this.#metrics = metrics;
  }

  /** Sets what is logged from now on: no access log above `info`. */
  setLogLevel(level: LogLevel): void {
    this.#log.level = level;
    this.#shown = this.#log.isLevelEnabled('info');
  }

  /** Connections of the proxy that are open, by the end that reports them; direct ones are none. */
  get open(): Readonly<Record<'source' | 'destination', bigint>> {
    return this.#open;
  }

  /** Events that the engine had to drop, its queue being full. */
  get dropped(): bigint {
    return this.#dropped;
  }

  /** Takes one batch of the engine's events. */
  onEvents(batch: EventBatch): void {
    this.#dropped += batch.dropped;
    if (this.#shown) {
      batch.lines.forEach(this.#lines);
    }
    for (const { reason, lines } of batch.leftOut) {
      const left = { reason: flags[reason] ?? 'UNKNOWN', left_out: lines };
      this.#log.warn(left, 'connections failed, lines left out');
    }
    for (const totals of batch.totals) {
      this.#count(totals);
    }
  }

  #count(totals: ConnectionTotals): void {
    const labels = this.#labelsOf(totals);
    const reporter = totals.direction === Direction.INBOUND ? 'destination' : 'source';
    if (!totals.direct) {
      // A direct one may have been opened before this proxy was, or end after it.
      this.#open[reporter] += totals.opened - totals.closed;
    }
    const sums: [ConnectionMetric, bigint][] = [
      ['opened', totals.opened],
      ['failed', totals.failed],
      ['closed', totals.closed],
      ['received', totals.bytesSent],
      ['sent', totals.bytesReceived],
      ['retransmitted', totals.retransmits],
    ];
    for (const [metric, sum] of sums) {
      if (sum > 0n) {
        this.#metrics.add(metric, labels, Number(sum));
      }
    }
    if (totals.rttUs > 0n) {
      this.#metrics.addRtt(labels, totals.rttCounts.map(Number), Number(totals.rttUs) / 1e6);
    }
  }

  #labelsOf(totals: ConnectionTotals): ConnectionLabels {
    const source = this.#directory.workload(totals.sourceWorkload);
    const destination = this.#directory.workload(totals.destinationWorkload);
    const { namespace, hostname } = serviceParts(totals.destinationService);
    const service = this.#directory.service(totals.destinationService);
    return {
      reporter: totals.direction === Direction.INBOUND ? 'destination' : 'source',
      source: endOf(source, totals.sourceIdentity),
      destination: endOf(destination, totals.destinationIdentity),
      destination_service: hostname,
      destination_service_name: service?.name || (hostname.split('.')[0] ?? ''),
      destination_service_namespace: namespace,
      connection_security_policy: securityOf(totals),
      response_flags: flags[totals.reason] ?? 'UNKNOWN',
      request_protocol: 'tcp',
    };
  }
}
