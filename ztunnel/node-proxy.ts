// SPDX-License-Identifier: Apache-2.0
// The node proxy put together: what is built from what, and in which order it starts and ends.
import { setTimeout as wait } from 'node:timers/promises';
import type { Engine, EventBatch, PacketHandlers, Packets } from '../native/index.ts';
import { MeshError } from '../src/lib/error.ts';
import type { Logger, LogLevel } from '../src/lib/log.ts';
import { version } from '../src/lib/version.ts';
import { parseSpiffeId } from '../src/spiffe/id.ts';
import { type Update, XdsClient } from '../src/xds/client.ts';
import { typeOrder, typeUrls } from '../src/xds/wire.ts';
import type { AdminView, PeerUser } from './admin.ts';
import { Applier } from './apply.ts';
import { CertificateBook } from './certificate-book.ts';
import { Certificates } from './certs.ts';
import type { Config } from './config.ts';
import { allNames, nameChanges } from './dns/changes.ts';
import type { NameChange } from './dns/names.ts';
import type { DnsProxy } from './dns/proxy.ts';
import { explain } from './explain.ts';
import type { Predecessor } from './handover/predecessor.ts';
import { sharedKeys, type Tenure } from './handover/shared-keys.ts';
import { dnsSocketsOf, listenersOf, nameSockets, type PodSockets } from './handover/sockets.ts';
import { Successors } from './handover/successors.ts';
import { KeyFolder } from './key-folder.ts';
import { type Family, Metrics } from './metrics.ts';
import { NodeCredential } from './node-credential.ts';
import { NodeServers } from './node-servers.ts';
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
  | 'listeners'
  | 'takeOver'
  | 'releaseDirect'
  | 'drain'
  | 'stop'
>;

/** What the proxy uses of the DNS proxy. */
export type ProxyDns = Pick<
  DnsProxy,
  'update' | 'addPod' | 'removePod' | 'sockets' | 'counts' | 'restarts' | 'close'
>;

/** The native parts, as `native/index.ts` has them. */
export interface NativeParts {
  engine(onEvents: (batch: EventBatch) => void): ProxyEngine;
  readonly transport: ZdsTransport;
  listen(path: string, onConnection: (socket: Packets) => PacketHandlers): { close(): void };
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
  /** `controlWaitMs` and `wholeWaitMs` unless a test says otherwise. */
  readonly waits?: { readonly controlMs?: number; readonly wholeMs?: number };
}

/**
 * How long a successor waits for the control plane to answer before it takes over with saved state,
 * which the proxy before it may know to be old. In milliseconds.
 */
export const controlWaitMs = 5_000;

/**
 * How long a successor waits for pods that it cannot carry and certificates that it does not get,
 * which the proxy before it may lack too, in milliseconds.
 */
export const wholeWaitMs = 30_000;

/**
 * How long a successor tries to open ports whose owner may be on its way out, in milliseconds. Nobody
 * looks after direct connections meanwhile.
 */
export const portsWaitMs = 2_000;

const portsRetryMs = 50;

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
  readonly #native: NativeParts;
  readonly #config: Config;
  readonly #log: Logger;
  readonly #engine: ProxyEngine;
  readonly #applier: Applier;
  readonly #metrics: Metrics;
  readonly #observer: Observer;
  readonly #predecessor: Predecessor | undefined;
  readonly #replaced = Promise.withResolvers<void>();
  readonly #dns: ProxyDns;
  readonly #book: CertificateBook;
  readonly #logDropped: () => number;
  readonly #onReady: () => void;
  readonly #servers: NodeServers;
  #successors: Successors | undefined;
  /** Whether this proxy may have what there can be only one of on a node. */
  #tenure: Tenure;
  #taking: Promise<void> = Promise.resolve();
  readonly #waits: NonNullable<ProxyHooks['waits']>;
  #cutBefore = 0;
  #controlIsAway = false;
  #waitedLong = false;
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

  /** @param predecessor carries the node until this one is ready. */
  constructor(
    config: Config,
    native: NativeParts,
    log: Logger,
    hooks: ProxyHooks,
    predecessor?: Predecessor,
  ) {
    this.#logDropped = hooks.logDropped;
    this.#onReady = hooks.ready;
    this.#waits = hooks.waits ?? {};
    this.#config = config;
    this.#log = log;
    this.#native = native;
    this.#predecessor = predecessor;
    this.#tenure = predecessor === undefined ? 'has' : 'waits';
    this.#engine = native.engine((batch) => this.#observer.onEvents(batch));
    this.#book = new CertificateBook(this.#engine);
    this.#applier = new Applier(this.#engine, config.node);
    this.#dns = native.dns(() => allNames(this.#applier));
    const metrics = new Metrics([() => this.#families(), () => this.#dnsFamilies()]);
    this.#metrics = metrics;
    this.#observer = new Observer(this.#applier, hooks.lines, log, metrics);
    const { quit } = hooks;
    const { peerUser } = native;
    const setLogLevel = (level: LogLevel): void => {
      log.level = level;
      this.#observer.setLogLevel(level);
    };
    const view = this.#view();
    this.#servers = new NodeServers({ config, metrics, view, peerUser, quit, setLogLevel, log });
  }

  /**
   * Resolves when a successor has taken this proxy's place: what is left to do is `stop()`. Rejects
   * when it could not take that of its predecessor.
   */
  get replaced(): Promise<void> {
    return this.#replaced.promise;
  }

  /**
   * Starts everything; resolves when the node is a member and looks for the control plane's state
   * and the agent's pods, which may both be away. Rejects when the node cannot join, a port is
   * taken, or `signal` fires.
   */
  async start(signal: AbortSignal): Promise<void> {
    const { node, control, stateDir, keysDir, joinTokenFile } = this.#config;
    const log = this.#log;
    const { transport, isNetns } = this.#native;
    if (this.#tenure === 'has') {
      await this.#serve();
    }
    void this.#predecessor?.lost.then(() => {
      if (this.#tenure === 'waits' && this.#stopped === undefined) {
        this.#beginTakeOver();
      }
    });
    const keys = sharedKeys(new KeyFolder(keysDir, log), () => this.#tenure);
    const options = { node, control, stateDir, joinTokenFile, log };
    const credential = await NodeCredential.open(options, signal);
    this.#credential = credential;
    const onIssued = (): void => this.#reportReady();
    const sink = this.#book;
    const certificates = new Certificates({ issuer: credential, sink, keys, onIssued, log });
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
      closeFd: (fd) => transport.closeFd(fd),
      isNetns,
      onChange: () => this.#reportReady(),
      log,
    });
    this.#zds = new ZdsClient(this.#config.zdsPath, transport, this.#pods, log);
    this.#applier.onChange(() => certificates.expect(this.#applier.localIdentities()));
    this.#xds = this.#xdsClient(credential);
    credential.onRenewed(() => this.#xds?.reconnect());
    this.#restore(this.#xds);
    this.#xds.start();
    this.#limitWaiting();
  }

  #limitWaiting(): void {
    const away = (): void => {
      this.#controlIsAway = true;
      this.#reportReady();
    };
    const long = (): void => {
      this.#waitedLong = true;
      this.#reportReady();
    };
    const { controlMs = controlWaitMs, wholeMs = wholeWaitMs } = this.#waits;
    if (this.#tenure === 'waits') {
      setTimeout(away, controlMs).unref();
      setTimeout(long, wholeMs).unref();
    }
  }

  #families(): Family[] {
    const pods = this.#pods?.list() ?? [];
    const counts = this.#pods?.counts ?? { started: 0, stopped: 0 };
    const { kept, expired } = this.#metrics.series;
    const own = {
      access_events_dropped: this.#observer.dropped,
      metric_series_expired: expired,
      log_writes_dropped: this.#logDropped(),
      handover_connections_cut: this.#cutBefore,
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
    const has = this.#tenure === 'has';
    return [...this.#lacks(), ...(has ? [] : ['the node, which another proxy carries'])];
  }

  #lacks(): string[] {
    const waits: [boolean, string][] = [
      [this.#stopped !== undefined, 'draining'],
      [this.#credential === undefined, 'node credential'],
      [this.#xds?.synced !== true && !this.#restored, 'control plane state'],
      [this.#pods?.ready !== true, 'pods'],
    ];
    return waits.filter(([holds]) => holds).map(([, name]) => name);
  }

  /**
   * Stops taking work, lets streams end within the deadline, then ends everything. Once. After
   * `replaced` the deadline is the one that the settings give for that.
   */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  /** Cuts what `stop()` waits for. */
  hurry(): void {
    void this.#engine.drain(0);
  }

  async #stop(): Promise<void> {
    const gave = this.#tenure === 'gave';
    if (!gave) {
      this.#letGoOfControl();
      await this.#cache?.close();
    }
    await this.#leaveNode();
    // Connections that go on meanwhile may still want names, and policy may turn against them.
    const cut = await this.#engine.drain(gave ? this.#config.drainMaxMs : drainDeadlineMs);
    this.#log.info({ cut }, 'drained');
    this.#successors?.drained(cut);
    this.#letGoOfControl();
    this.#certificates?.close();
    this.#credential?.close();
    await this.#dns.close();
    this.#engine.stop();
    await this.#taking;
    await this.#servers.close();
    this.#successors?.close();
  }

  // To a successor that waits for its turn, or to the predecessor that goes on instead of this one.
  async #leaveNode(): Promise<void> {
    if (this.#tenure === 'takes' || this.#successors?.busy === true) {
      this.#engine.releaseDirect();
    }
    if (this.#tenure === 'has' && this.#successors?.busy === true) {
      await this.#servers.close();
      this.#successors.close();
    }
    this.#predecessor?.close();
  }

  #letGoOfControl(): void {
    this.#zds?.close();
    this.#pods?.close();
    this.#xds?.close();
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
        const inherited = await this.#inherit(uid);
        const dns = dnsSocketsOf(inherited);
        try {
          await this.#dns.addPod({ uid, namespace, netns, nameservers }, dns);
          const listeners = listenersOf(inherited);
          await this.#engine.addPod({ ...pod, listeners }).catch(async (error: unknown) => {
            await this.#dns.removePod(uid);
            throw error;
          });
        } finally {
          const taken = new Set(dns.values());
          [...inherited.values()]
            .filter((fd) => !taken.has(fd))
            .forEach((fd) => {
              this.#native.transport.closeFd(fd);
            });
        }
      },
      removePod: async (uid) => {
        await this.#engine.removePod(uid);
        await this.#dns.removePod(uid);
      },
    };
  }

  // Also when it has let go: it answers DNS to its end.
  async #inherit(uid: string): Promise<PodSockets> {
    return (await this.#predecessor?.sockets(uid)) ?? new Map();
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
    if (this.#tenure === 'waits' && this.#mayTakeOver()) {
      this.#beginTakeOver();
    }
    if (this.#tenure !== 'has' || this.#lacks().length > 0) {
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

  // Without state, or the agent's list, this proxy would carry less than the one before it.
  #mayTakeOver(): boolean {
    const knows = this.#xds?.synced === true || this.#controlIsAway;
    const lacks = this.#lacks();
    if (!knows || this.#pods?.listed !== true || lacks.some((what) => what !== 'pods')) {
      return false;
    }
    return this.#waitedLong || (lacks.length === 0 && this.#hasCertificates());
  }

  // Until then connections would wait here, and the other proxy can carry them at once.
  #hasCertificates(): boolean {
    const pods = this.#pods?.list() ?? [];
    return pods.every(({ spiffeId }) => this.#certificates?.has(spiffeId) ?? false);
  }

  #beginTakeOver(): void {
    this.#tenure = 'takes';
    this.#taking = this.#takeOver().catch((error: unknown) => {
      this.#replaced.reject(MeshError.from(error));
    });
  }

  async #takeOver(): Promise<void> {
    const predecessor = this.#predecessor;
    await predecessor?.take();
    if (this.#stopped !== undefined) {
      return;
    }
    if (predecessor?.isGone === true) {
      this.#engine.takeOver();
    }
    // Where it goes on accepting nothing is accepted here that would be cut if this fails.
    await this.#serveSoon(performance.now() + portsWaitMs);
    if (this.#stopped !== undefined) {
      return;
    }
    this.#engine.takeOver();
    this.#tenure = 'has';
    predecessor?.took();
    void predecessor?.ended.then((cut) => {
      this.#cutBefore = cut ?? 0;
      this.#log.info({ cut }, 'the node proxy before this one has ended');
    });
    this.#log.info({ pending: this.#lacks() }, 'took over');
    this.#reportReady();
  }

  async #serve(): Promise<void> {
    await this.#servers.open();
    const { listen, transport } = this.#native;
    try {
      this.#successors = new Successors(this.#config.handoverSocket, {
        listen,
        sockets: async (uid) =>
          nameSockets(await this.#engine.listeners(uid), await this.#dns.sockets(uid)),
        release: () => this.#release(),
        replaced: () => this.#giveAway(),
        takeBack: () => this.#takeBack(),
        closeFd: (fd) => transport.closeFd(fd),
        log: this.#log,
      });
    } catch (error) {
      await this.#servers.close();
      throw MeshError.from(error);
    }
  }

  // Whoever had the ports before may be on its way out.
  async #serveSoon(until: number): Promise<void> {
    while (this.#stopped === undefined) {
      try {
        await this.#serve();
        return;
      } catch (thrown) {
        const error = MeshError.from(thrown);
        const mayPass = error.code === 'conflict' || error.code === 'unavailable';
        if (!mayPass || performance.now() > until) {
          throw error;
        }
      }
      await wait(portsRetryMs);
    }
  }

  async #release(): Promise<void> {
    this.#tenure = 'gives';
    await this.#servers.close();
    // Last, and not long before the successor begins: policy may turn against direct connections.
    this.#engine.releaseDirect();
  }

  // What it goes on with needs the control plane's word, and to be told of pods that go.
  #giveAway(): void {
    this.#tenure = 'gave';
    this.#pods?.takeNoMore();
    void this.#cache?.close();
    this.#replaced.resolve();
  }

  #takeBack(): void {
    if (this.#stopped !== undefined) {
      return;
    }
    this.#tenure = 'has';
    this.#engine.takeOver();
    this.#log.warn('the successor ended too early: this process goes on');
    this.#taking = this.#serveSoon(Number.POSITIVE_INFINITY).catch((error: unknown) => {
      this.#replaced.reject(MeshError.from(error));
    });
  }
}
