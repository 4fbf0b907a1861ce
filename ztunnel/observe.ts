// SPDX-License-Identifier: Apache-2.0
// From the engine's events to the access log and the metrics. Nothing here feeds back into intent.
import { Direction, Kind, Reason } from '../native/gen/events_pb.js';
import type { ConnectionEvent, EventBatch } from '../native/index.ts';
import type { Logger } from '../src/lib/log.ts';
import { ports } from '../src/lib/ports.ts';
import { LineLimit } from './line-limit.ts';
import type { ConnectionLabels, Metrics } from './metrics.ts';
import type { TableService, TableWorkload } from './translate.ts';

/** Where names come from: the applied control plane state. */
export interface Directory {
  workload(uid: string): TableWorkload | undefined;
  service(key: string): TableService | undefined;
}

/** Most lines about refused connections, for each reason, in each window of `refusalWindowMs`. */
export const refusalLinesMax = 50;
export const refusalWindowMs = 1_000;

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

// Absent keys are left out of the line instead of being shown empty.
function withoutEmpty(fields: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== ''));
}

function errorOf(event: ConnectionEvent): string {
  if (event.reason === Reason.NONE) {
    return '';
  }
  const why = event.detail === '' ? flags[event.reason] : event.detail;
  return event.policy === '' ? why : `${why} (policy ${event.policy})`;
}

// As in Istio: with a tunnel, the address of its far end. On the inbound side that is the pod's
// own tunnel port, the peer being the source.
function tunnelEndOf(event: ConnectionEvent): string {
  const { direction, tunnelAddress, destinationAddress } = event;
  if (tunnelAddress === '') {
    return destinationAddress;
  }
  return direction === Direction.INBOUND
    ? destinationAddress.replace(/:\d+$/, `:${ports.hbone}`)
    : tunnelAddress;
}

/** Writes the access log and counts connections. Main thread only. */
export class Observer {
  readonly #directory: Directory;
  readonly #log: Logger;
  readonly #metrics: Metrics;
  readonly #refusals: LineLimit;
  #dropped = 0n;

  /** @param log the access log goes to it, as lines with `target: "access"`. */
  constructor(directory: Directory, log: Logger, metrics: Metrics) {
    this.#directory = directory;
    this.#log = log.child({ target: 'access' });
    this.#metrics = metrics;
    // Anyone who reaches a port can have connections refused, at no cost to himself.
    this.#refusals = new LineLimit({
      linesMax: refusalLinesMax,
      windowMs: refusalWindowMs,
      onLeftOut: (reason, lines) =>
        this.#log.warn({ reason, left_out: lines }, 'connections failed, lines left out'),
    });
  }

  /** Events that the engine had to drop, its queue being full. */
  get dropped(): bigint {
    return this.#dropped;
  }

  /** Takes one batch of the engine's events. */
  onEvents(batch: EventBatch): void {
    this.#dropped += batch.dropped;
    for (const event of batch.connections) {
      this.#write(event);
      this.#count(event);
    }
  }

  /** Tells what was left out of the log so far. For the end of the process. */
  close(): void {
    this.#refusals.flush();
  }

  #write(event: ConnectionEvent): void {
    // The metrics count it all the same.
    if (event.kind === Kind.REFUSED && !this.#refusals.allows(flags[event.reason] ?? 'UNKNOWN')) {
      return;
    }
    const fields = this.#fieldsOf(event);
    if (event.kind === Kind.OPENED) {
      this.#log.debug(fields, 'connection opened');
      return;
    }
    const failed = event.kind === Kind.REFUSED || event.reason !== Reason.NONE;
    const text = event.kind === Kind.REFUSED ? 'connection failed' : 'connection complete';
    this.#log[failed ? 'warn' : 'info'](fields, text);
  }

  #fieldsOf(event: ConnectionEvent): Record<string, string | number> {
    const source = this.#directory.workload(event.sourceWorkload);
    const destination = this.#directory.workload(event.destinationWorkload);
    const { hostname } = serviceParts(event.destinationService);
    const closed = event.kind === Kind.OPENED ? {} : this.#countsOf(event);
    return {
      ...withoutEmpty({
        'src.addr': event.sourceAddress,
        'src.workload': source?.name ?? '',
        'src.namespace': source?.namespace ?? '',
        'src.identity': event.sourceIdentity,
        'dst.addr': tunnelEndOf(event),
        'dst.hbone_addr': event.tunnelAddress === '' ? '' : event.destinationAddress,
        'dst.service': hostname,
        'dst.workload': destination?.name ?? '',
        'dst.namespace': destination?.namespace ?? '',
        'dst.identity': event.destinationIdentity,
        direction: event.direction === Direction.INBOUND ? 'inbound' : 'outbound',
      }),
      ...closed,
      ...withoutEmpty({ error: errorOf(event) }),
    };
  }

  #countsOf(event: ConnectionEvent): Record<string, string | number> {
    return {
      bytes_sent: Number(event.bytesSent),
      bytes_recv: Number(event.bytesReceived),
      duration: `${event.durationUs / 1000n}ms`,
    };
  }

  #count(event: ConnectionEvent): void {
    const labels = this.#labelsOf(event);
    if (event.kind === Kind.OPENED) {
      this.#metrics.add('opened', labels, 1);
      return;
    }
    if (event.kind === Kind.REFUSED) {
      this.#metrics.add('failed', labels, 1);
      return;
    }
    this.#metrics.add('closed', labels, 1);
    this.#metrics.add('received', labels, Number(event.bytesSent));
    this.#metrics.add('sent', labels, Number(event.bytesReceived));
  }

  #labelsOf(event: ConnectionEvent): ConnectionLabels {
    const source = this.#directory.workload(event.sourceWorkload);
    const destination = this.#directory.workload(event.destinationWorkload);
    const { namespace, hostname } = serviceParts(event.destinationService);
    const service = this.#directory.service(event.destinationService);
    return {
      reporter: event.direction === Direction.INBOUND ? 'destination' : 'source',
      source_workload: source?.workloadName || source?.name || '',
      source_workload_namespace: source?.namespace ?? '',
      source_principal: event.sourceIdentity,
      destination_workload: destination?.workloadName || destination?.name || '',
      destination_workload_namespace: destination?.namespace ?? '',
      destination_principal: event.destinationIdentity,
      destination_service: hostname,
      destination_service_name: service?.name || (hostname.split('.')[0] ?? ''),
      destination_service_namespace: namespace,
      connection_security_policy: event.mutualTls ? 'mutual_tls' : 'unknown',
      response_flags: flags[event.reason] ?? 'UNKNOWN',
      request_protocol: 'tcp',
    };
  }
}
