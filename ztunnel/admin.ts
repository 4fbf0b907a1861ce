// SPDX-License-Identifier: Apache-2.0
// The admin interface of the node proxy: what it knows, what it does, and why. On a UNIX socket for
// root alone; over TCP, if asked for, to look but not to touch.
import type { Server } from 'node:http';
import { isIP } from 'node:net';
import type { EngineSnapshot } from '../native/index.ts';
import { Direction, Kind } from '../native/index.ts';
import {
  type CaptureStatus,
  type CertificatesAnswer,
  type ConnectionsAnswer,
  type CryptoStatus,
  type ExplainAnswer,
  type ProxyStatus,
  type ShownIdentity,
  uncarried,
} from '../src/lib/admin-api.ts';
import { MeshError } from '../src/lib/error.ts';
import {
  closeHttpServer,
  createHttpServer,
  jsonAnswer,
  type Routes,
  textAnswer,
} from '../src/lib/http-server.ts';
import type { ListenAddress } from '../src/lib/listen-address.ts';
import { type Logger, type LogLevel, logLevels } from '../src/lib/log.ts';
import { type StatusServer, serveTcp } from '../src/lib/status-server.ts';
import { listenPrivate } from '../src/lib/unix-socket.ts';
import { dumpPods, dumpPolicy, dumpService, dumpWorkload, endpointsOf } from './config-dump.ts';
import type { ExplainText, Known } from './explain.ts';
import type { PodEntry } from './pods.ts';
import type { TablePolicy } from './translate-policy.ts';

/** What is shown. */
export interface AdminView {
  readonly node: string;
  readonly version: string;
  /** The settings, without secrets. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly known: Known & { policies(): Iterable<TablePolicy> };
  pending(): readonly string[];
  synced(): boolean;
  pods(): readonly PodEntry[];
  certificates(): readonly ShownIdentity[];
  capture(): CaptureStatus;
  crypto(): CryptoStatus;
  snapshot(): Promise<EngineSnapshot>;
  explain(query: ExplainText): ExplainAnswer;
}

/** What can be asked to be done; over the socket only. */
export interface AdminActions {
  /** Begins the end of the process, as SIGTERM does. */
  quit(): void;
  /** Sets what is logged from now on. */
  setLogLevel(level: LogLevel): void;
}

/** Who connected: the user's number, of a socket's descriptor. Throws when that is not known. */
export type PeerUser = (fd: number) => number;

const count = (items: Iterable<unknown>): number => [...items].length;

function refusalOf(node: string, { sockmapRefused }: CaptureStatus): string[] {
  const gates = sockmapRefused.join(', ');
  const note = `pods of node ${node} ask for the sockmap tier, which its kernel may not have (${gates}): their direct connections go by TCP`;
  return sockmapRefused.length > 0 ? [note] : [];
}

function statusOf(view: AdminView, log: Logger): ProxyStatus {
  const { node, version, known } = view;
  const pending = view.pending();
  const capture = view.capture();
  const identities = view.certificates();
  const ends = identities.flatMap(({ certChain }) => certChain[0]?.expirationTime ?? []).sort();
  return {
    ...{ node, version, pid: process.pid, uptimeSeconds: Math.floor(process.uptime()) },
    ...{ ready: pending.length === 0, pending, logLevel: log.level, synced: view.synced() },
    pods: view.pods().map(({ uid, claim, spiffeId, running }) => {
      return { uid, ...claim, identity: spiffeId, carried: running };
    }),
    capture,
    crypto: view.crypto(),
    workloads: count(known.workloads()),
    services: count(known.services()),
    policies: count(known.policies()),
    certificates: identities.length,
    firstCertificateEnds: ends[0] ?? '',
    notes: [...refusalOf(node, capture), ...uncarried],
  };
}

const directionOf = (direction: Direction): 'inbound' | 'outbound' =>
  direction === Direction.INBOUND ? 'inbound' : 'outbound';

const milliseconds = (us: bigint): number => Math.round(Number(us) / 1000);

function connectionsOf(node: string, snapshot: EngineSnapshot): ConnectionsAnswer {
  return {
    node,
    omitted: Number(snapshot.omitted),
    connections: snapshot.connections.map((each) => ({
      direction: directionOf(each.direction),
      pod: each.podUid,
      source: each.sourceAddress,
      destination: each.destinationAddress,
      tunnel: each.tunnelAddress,
      sourceIdentity: each.sourceIdentity,
      destinationIdentity: each.destinationIdentity,
      sourceWorkload: each.sourceWorkload,
      destinationWorkload: each.destinationWorkload,
      service: each.destinationService,
      mutualTls: each.mutualTls,
      open: each.kind === Kind.OPENED,
      bytesSent: Number(each.bytesSent),
      bytesReceived: Number(each.bytesReceived),
      ageMs: milliseconds(each.durationUs),
    })),
    tunnels: snapshot.tunnels.map((each) => ({
      direction: directionOf(each.direction),
      pod: each.podUid,
      peer: each.peerAddress,
      ownIdentity: each.ownIdentity,
      peerIdentity: each.peerIdentity,
      streams: each.streams,
      ageMs: milliseconds(each.ageUs),
      unsentBytes: Number(each.unsentBytes),
      up: each.up,
      retiring: each.retiring,
    })),
  };
}

async function dump(view: AdminView): Promise<Record<string, unknown>> {
  const { connections } = await view.snapshot();
  const { known, settings, version } = view;
  const endpoints = endpointsOf(known.workloads());
  return {
    workloads: [...known.workloads()].map(dumpWorkload),
    services: [...known.services()].map((each) => dumpService(each, endpoints.get(each.key) ?? {})),
    policies: [...known.policies()].map(dumpPolicy),
    stagedServices: {},
    certificates: view.certificates(),
    config: settings,
    version: { version },
    workloadState: dumpPods(view.pods(), connections),
  };
}

/** What may be looked at. */
export function viewRoutes(view: AdminView, log: Logger): Routes {
  const text = (query: URLSearchParams, name: string): string => query.get(name) ?? '';
  return {
    '/status': { GET: () => jsonAnswer(statusOf(view, log)) },
    '/config_dump': { GET: async () => jsonAnswer(await dump(view)) },
    '/certificates': {
      GET: () => {
        const { node } = view;
        const answer: CertificatesAnswer = { node, certificates: view.certificates() };
        return jsonAnswer(answer);
      },
    },
    '/connections': {
      GET: async () => jsonAnswer(connectionsOf(view.node, await view.snapshot())),
    },
    '/explain': {
      GET: (query) => {
        const [source, destination] = [text(query, 'source'), text(query, 'destination')];
        return jsonAnswer(view.explain({ source, destination, port: text(query, 'port') }));
      },
    },
    '/logging': { GET: () => textAnswer(200, `${log.level}\n`) },
  };
}

function levelOf(text: string | null): LogLevel {
  const level = logLevels.find((each) => each === text);
  if (level === undefined) {
    throw new MeshError('invalid', `level is one of ${logLevels.join(', ')}`);
  }
  return level;
}

/** What may be done besides. */
export function socketRoutes(view: AdminView, actions: AdminActions, log: Logger): Routes {
  const routes = viewRoutes(view, log);
  return {
    ...routes,
    '/logging': {
      ...routes['/logging'],
      POST: (query) => {
        actions.setLogLevel(levelOf(query.get('level')));
        return textAnswer(200, `${log.level}\n`);
      },
    },
    '/quitquitquit': {
      POST: () => {
        actions.quit();
        return textAnswer(200, 'shutting down\n');
      },
    },
  };
}

// The file's mode keeps others out; this also when the file was moved or its rights were changed.
function admit(server: Server, peerUser: PeerUser, log: Logger): void {
  server.prependListener('connection', (socket) => {
    let user = -1;
    try {
      // Node shows the descriptor nowhere else.
      user = peerUser((socket as { _handle?: { fd?: number } })._handle?.fd ?? -1);
    } catch (error) {
      log.warn({ reason: MeshError.from(error).message }, 'an admin connection of nobody known');
    }
    if (user !== 0 && user !== process.geteuid?.()) {
      log.warn({ user }, 'an admin connection was refused');
      socket.destroy();
    }
  });
}

/** Serves everything at `path`, for root alone. Rejects as `listenPrivate` does. */
export async function serveAdminSocket(
  path: string,
  routes: Routes,
  peerUser: PeerUser,
  log: Logger,
): Promise<{ close(): Promise<void> }> {
  const server = createHttpServer(routes);
  admit(server, peerUser, log);
  await listenPrivate(server, path);
  return { close: () => closeHttpServer(server) };
}

/** Whether `host` is an address of this machine's loopback. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

/** Serves what may be looked at over TCP; throws MeshError `denied` unless that is the loopback. */
export async function serveAdminTcp(address: ListenAddress, routes: Routes): Promise<StatusServer> {
  if (!isLoopback(address.host)) {
    throw new MeshError('denied', `--admin is for this machine: ${address.host} is no loopback`);
  }
  return await serveTcp(address, routes);
}
