// SPDX-License-Identifier: Apache-2.0
// The node proxy put together: what is built from what, and in which order it starts and ends.
import type { Engine, EventBatch } from '../native/index.ts';
import type { Logger, LogLevel } from '../src/lib/log.ts';
import { ensurePrivateFolder } from '../src/lib/private-files.ts';
import { version } from '../src/lib/version.ts';
import { parseSpiffeId } from '../src/spiffe/id.ts';
import { type Update, XdsClient } from '../src/xds/client.ts';
import { typeOrder, typeUrls } from '../src/xds/wire.ts';
import {
  type AdminView,
  type PeerUser,
  serveAdminSocket,
  serveAdminTcp,
  socketRoutes,
  viewRoutes,
} from './admin.ts';
import { Applier } from './apply.ts';
import { CertificateBook } from './certificate-book.ts';
import { Certificates } from './certs.ts';
import type { Config } from './config.ts';
import { allNames, nameChanges } from './dns/changes.ts';
import type { NameChange } from './dns/names.ts';
import type { DnsProxy } from './dns/proxy.ts';
import { explain } from './explain.ts';
import { KeyFolder } from './key-folder.ts';
import { type Family, Metrics } from './metrics.ts';
import { NodeCredential } from './node-credential.ts';
import { Observer } from './observe.ts';
import { type PodEngine, Pods } from './pods.ts';
import {
  buildFamily,
  captureFamilies,
  certificateFamilies,
  dnsFamilies,
  engineFamilies,
  openFamily,
  podFamilies,
  seriesFamily,
  xdsFamilies,
} from './proxy-metrics.ts';
import { StateCache } from './state-cache.ts';
import { serveMetrics, serveReadiness } from './status-server.ts';
import { Trust } from './trust.ts';
import { ZdsClient, type ZdsTransport } from './zds.ts';

/** What the proxy uses of the engine. */
export type ProxyEngine = Pick<
  Engine,
  | 'apply'
  | 'setIdentity'
  | 'removeIdentity'
  | 'setDenyList'
  | 'snapshot'
  | 'explain'
  | 'addPod'
  | 'removePod'
  | 'captureStats'
  | 'counters'
  | 'drain'
  | 'stop'
>;

/** What the proxy uses of the DNS proxy. */
export type ProxyDns = Pick<
  DnsProxy,
  'update' | 'addPod' | 'removePod' | 'counts' | 'restarts' | 'close'
>;

/** The native parts, as `native/index.ts` has them. */
export interface NativeParts {
  engine(onEvents: (batch: EventBatch) => void): ProxyEngine;
  readonly transport: ZdsTransport;
  readonly peerUser: PeerUser;
  readonly isNetns: (fd: number) => boolean;
  /** `names` are all there are, for a thread that starts. */
  dns(names: () => readonly NameChange[]): ProxyDns;
}

/** What the process does for the proxy. */
export interface ProxyHooks {
  /** Takes the access log, in whole lines. */
  lines(bytes: Uint8Array): void;
  /** How many writes of the log were dropped, its reader being too slow. */
  logDropped(): number;
  /** Begins the end of the process, when the admin socket is told so. */
  quit(): void;
  /** Called once, when the proxy is ready for the first time. */
  ready(): void;
}

/** How long streams may go on after a stop was asked for, in milliseconds. */
export const drainDeadlineMs = 5_000;

function trustDomainOf(spiffeId: string): string {
  const id = parseSpiffeId(spiffeId);
  if (!id.ok) {
    throw id.error;
  }
  return id.value.trustDomain;
}

/** One node proxy, from start to stop. */
export class NodeProxy {
  readonly #config: Config;
  readonly #log: Logger;
  readonly #engine: ProxyEngine;
  readonly #applier: Applier;
  readonly #metrics: Metrics;
  readonly #observer: Observer;
  readonly #transport: ZdsTransport;
  readonly #dns: ProxyDns;
  readonly #peerUser: PeerUser;
  readonly #isNetns: (fd: number) => boolean;
  readonly #book: CertificateBook;
  readonly #quit: () => void;
  readonly #logDropped: () => number;
  readonly #onReady: () => void;
  readonly #servers: { close(): Promise<void> }[] = [];
  #credential: NodeCredential | undefined;
  #certificates: Certificates | undefined;
  #pods: Pods | undefined;
  #zds: ZdsClient | undefined;
  #xds: XdsClient | undefined;
  #trust: Trust | undefined;
  #cache: StateCache | undefined;
  #restored = false;
  #zdsStarted = false;
  #keysSwept = false;
  #stopped: Promise<void> | undefined;
  #wasReady = false;

  constructor(config: Config, native: NativeParts, log: Logger, hooks: ProxyHooks) {
    this.#quit = hooks.quit;
    this.#logDropped = hooks.logDropped;
    this.#onReady = hooks.ready;
    this.#config = config;
    this.#log = log;
    this.#transport = native.transport;
    this.#peerUser = native.peerUser;
    this.#isNetns = native.isNetns;
    this.#engine = native.engine((batch) => this.#observer.onEvents(batch));
    this.#book = new CertificateBook(this.#engine);
    this.#applier = new Applier(this.#engine, config.node);
    this.#dns = native.dns(() => allNames(this.#applier));
    this.#metrics = new Metrics([() => this.#families(), () => this.#dnsFamilies()]);
    this.#observer = new Observer(this.#applier, hooks.lines, log, this.#metrics);
  }

  /**
   * Starts everything; resolves when the node is a member and looks for the control plane's state
   * and the agent's pods, which may both be away. Rejects when the node cannot join, a port is
   * taken, or `signal` fires.
   */
  async start(signal: AbortSignal): Promise<void> {
    const { node, control, stateDir, keysDir, joinTokenFile } = this.#config;
    const log = this.#log;
    const metrics = await serveMetrics(this.#config.metrics, this.#metrics);
    this.#servers.push(metrics);
    const readiness = await serveReadiness(this.#config.readiness, () => this.pending());
    this.#servers.push(readiness);
    await this.#serveAdmin();
    log.info({ metrics: metrics.port, readiness: readiness.port }, 'listening');
    const keys = new KeyFolder(keysDir, log);
    const options = { node, control, stateDir, joinTokenFile, log };
    const credential = await NodeCredential.open(options, signal);
    this.#credential = credential;
    const certificates = new Certificates({ issuer: credential, sink: this.#book, keys, log });
    this.#certificates = certificates;
    this.#trust = new Trust(
      trustDomainOf(credential.spiffeId),
      this.#engine,
      [certificates, credential],
      log,
    );
    this.#pods = new Pods({
      engine: this.#carriers(),
      placement: this.#applier,
      identities: certificates,
      closeFd: (fd) => this.#transport.closeFd(fd),
      isNetns: this.#isNetns,
      onChange: () => this.#reportReady(),
      log,
    });
    this.#zds = new ZdsClient(this.#config.zdsPath, this.#transport, this.#pods, log);
    this.#applier.onChange(() => certificates.expect(this.#applier.localIdentities()));
    this.#xds = this.#xdsClient(credential);
    credential.onRenewed(() => this.#xds?.reconnect());
    this.#restore(this.#xds);
    this.#xds.start();
  }

  #families(): Family[] {
    const pods = this.#pods?.list() ?? [];
    const counts = this.#pods?.counts ?? { started: 0, stopped: 0 };
    const { kept, expired } = this.#metrics.series;
    const own = {
      access_events_dropped: this.#observer.dropped,
      metric_series_expired: expired,
      log_writes_dropped: this.#logDropped(),
    };
    return [
      buildFamily(version),
      openFamily(this.#observer.open),
      seriesFamily(kept),
      ...captureFamilies(this.#engine.captureStats()),
      ...engineFamilies({ ...this.#engine.counters(), ...own }),
      ...xdsFamilies(this.#xds?.counts, this.#xds?.live ?? false),
      ...podFamilies(pods, counts, this.#pods?.ready ?? false),
      ...certificateFamilies(this.#book.size, this.#book.firstEnd()),
    ];
  }

  // By itself: it asks the DNS thread, and the rest is shown without it.
  async #dnsFamilies(): Promise<Family[]> {
    const counts = await this.#dns.counts();
    return dnsFamilies(counts, this.#pods?.list() ?? [], this.#dns.restarts);
  }

  async #serveAdmin(): Promise<void> {
    const { adminSocket, admin, stateDir } = this.#config;
    const log = this.#log;
    await ensurePrivateFolder(stateDir);
    const view = this.#view();
    const actions = {
      quit: this.#quit,
      setLogLevel: (level: LogLevel): void => {
        log.level = level;
        this.#observer.setLogLevel(level);
      },
    };
    const routes = socketRoutes(view, actions, log);
    this.#servers.push(await serveAdminSocket(adminSocket, routes, this.#peerUser, log));
    if (admin !== undefined) {
      const server = await serveAdminTcp(admin, viewRoutes(view, log));
      this.#servers.push(server);
      log.info({ port: server.port }, 'admin is served over TCP, to look but not to touch');
    }
  }

  #view(): AdminView {
    const { node } = this.#config;
    return {
      node,
      version,
      settings: { ...this.#config },
      known: this.#applier,
      pending: () => this.pending(),
      synced: () => this.#xds?.synced ?? false,
      pods: () => this.#pods?.list() ?? [],
      certificates: () => this.#book.show(Date.now()),
      capture: () => this.#engine.captureStats(),
      snapshot: () => this.#engine.snapshot(),
      explain: (query) => explain(this.#engine, this.#applier, node, query),
    };
  }

  // What the control plane said before is in force at once; what it says now replaces it.
  #restore(xds: XdsClient): void {
    const { stateDir, node, stateMaxAgeMs: maxAgeMs } = this.#config;
    const cache = new StateCache({
      ...{ stateDir, node, maxAgeMs, log: this.#log },
      live: () => xds.live,
    });
    this.#cache = cache;
    const saved = cache.load();
    if (saved !== undefined) {
      const { confirmed } = saved;
      this.#log.info({ confirmed }, 'serving from saved state until the control plane answers');
      xds.restore(saved.resources);
      this.#restored = true;
      this.#startZds();
    }
  }

  // Pods are checked against the control plane's state, so that has to be there first.
  #startZds(): void {
    if (!this.#zdsStarted) {
      this.#zdsStarted = true;
      this.#zds?.start();
    }
  }

  /** What the proxy still waits for; nothing when it is ready. */
  pending(): string[] {
    const waits: [boolean, string][] = [
      [this.#stopped !== undefined, 'draining'],
      [this.#credential === undefined, 'node credential'],
      [this.#xds?.synced !== true && !this.#restored, 'control plane state'],
      [this.#pods?.ready !== true, 'pods'],
    ];
    return waits.filter(([holds]) => holds).map(([, name]) => name);
  }

  /** Stops taking work, lets streams end within the deadline, then ends everything. Once. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    this.#zds?.close();
    this.#pods?.close();
    this.#xds?.close();
    await this.#cache?.close();
    this.#certificates?.close();
    this.#credential?.close();
    // Connections that go on meanwhile may still want names.
    await this.#engine.drain(drainDeadlineMs);
    await this.#dns.close();
    this.#engine.stop();
    await Promise.all(this.#servers.map((server) => server.close()));
  }

  #xdsClient(credential: NodeCredential): XdsClient {
    const { node, control } = this.#config;
    return new XdsClient({
      address: control,
      // Istio's shape: kind~address~pod.namespace~domain.
      nodeId: `ztunnel~0.0.0.0~${node}.weft-system~weft-system.svc.cluster.local`,
      nodeMetadata: { NODE_NAME: node, NAME: node, NAMESPACE: 'weft-system' },
      channel: () => credential.channel(),
      types: typeOrder,
      onUpdate: (update) => this.#take(update),
      onTaken: (taken) => {
        this.#cache?.record(taken);
        credential.connect();
      },
      onSynced: () => {
        this.#startZds();
        this.#reportReady();
      },
      log: this.#log,
    });
  }

  // DNS first: where there is no resolver, there is nothing to connect to.
  #carriers(): PodEngine {
    return {
      addPod: async ({ namespace, nameservers, ...pod }) => {
        const { uid, netns } = pod;
        await this.#dns.addPod({ uid, namespace, netns, nameservers });
        await this.#engine.addPod(pod).catch(async (error: unknown) => {
          await this.#dns.removePod(uid);
          throw error;
        });
      },
      removePod: async (uid) => {
        await this.#engine.removePod(uid);
        await this.#dns.removePod(uid);
      },
    };
  }

  #take(update: Update): ReadonlyMap<string, string> {
    if (update.type === typeUrls.trustBundle) {
      return this.#trust?.update(update) ?? new Map();
    }
    const rejected = this.#applier.update(update);
    this.#dns.update(nameChanges(update, this.#applier));
    return rejected;
  }

  #reportReady(): void {
    if (this.pending().length > 0) {
      return;
    }
    if (this.#xds?.synced === true && !this.#keysSwept) {
      this.#keysSwept = true;
      this.#certificates?.forgetOthers();
    }
    if (!this.#wasReady) {
      this.#wasReady = true;
      this.#log.info({ pods: this.#pods?.count }, 'ready');
      this.#onReady();
    }
  }
}
