// SPDX-License-Identifier: Apache-2.0
// The node proxy put together: what is built from what, and in which order it starts and ends.
import type { Engine, EventBatch, PacketHandlers, Packets } from '../native/index.ts';
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
import { sharedKeys } from './handover/shared-keys.ts';
import { dnsSocketsOf, listenersOf } from './handover/sockets.ts';
import { NodeTenure, type TenureWaits } from './handover/tenure.ts';
import { KeyFolder } from './key-folder.ts';
import { MeshConfigFollower } from './mesh-config.ts';
import { type Family, Metrics } from './metrics.ts';
import { NodeCredential } from './node-credential.ts';
import { NodeServers } from './node-servers.ts';
import { Observer } from './observe.ts';
import { type PodEngine, Pods } from './pods.ts';
import {
  buildFamily,
  captureFamilies,
  certificateFamilies,
  cryptoFamilies,
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
  | 'cryptoStats'
  | 'counters'
  | 'listeners'
  | 'takeOver'
  | 'releaseDirect'
  | 'directChanged'
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
  /** How long a successor waits, if a test says so. */
  readonly waits?: TenureWaits;
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
  readonly #native: NativeParts;
  readonly #config: Config;
  readonly #log: Logger;
  readonly #engine: ProxyEngine;
  readonly #applier: Applier;
  readonly #metrics: Metrics;
  readonly #observer: Observer;
  readonly #tenure: NodeTenure;
  readonly #dns: ProxyDns;
  readonly #book: CertificateBook;
  readonly #logDropped: () => number;
  readonly #onReady: () => void;
  #credential: NodeCredential | undefined;
  #certificates: Certificates | undefined;
  #pods: Pods | undefined;
  #zds: ZdsClient | undefined;
  readonly #meshConfig: MeshConfigFollower;
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
    this.#config = config;
    this.#log = log;
    this.#native = native;
    this.#engine = native.engine((batch) => this.#observer.onEvents(batch));
    this.#book = new CertificateBook(this.#engine);
    this.#meshConfig = new MeshConfigFollower((told) => this.#zds?.setMeshConfig(told), log);
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
    const servers = new NodeServers({ config, metrics, view, peerUser, quit, setLogLevel, log });
    this.#tenure = new NodeTenure({
      predecessor,
      socketPath: config.handoverSocket,
      servers,
      engine: this.#engine,
      dns: this.#dns,
      listen: native.listen,
      closeFd: (fd) => native.transport.closeFd(fd),
      progress: () => ({
        synced: this.#xds?.synced === true,
        listed: this.#pods?.listed === true,
        lacks: this.#lacks(),
        certified: this.#hasCertificates(),
      }),
      onTaken: () => this.#reportReady(),
      onGiven: () => this.#goOnAlone(),
      waits: hooks.waits,
      log,
    });
  }

  /**
   * Resolves when a successor has taken this proxy's place: what is left to do is `stop()`. Rejects
   * when it could not take that of its predecessor.
   */
  get replaced(): Promise<void> {
    return this.#tenure.replaced;
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
    await this.#tenure.begin();
    const keys = sharedKeys(new KeyFolder(keysDir, log), () => this.#tenure.state);
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
    this.#tenure.limitWaiting();
  }

  #families(): Family[] {
    const pods = this.#pods?.list() ?? [];
    const counts = this.#pods?.counts ?? { started: 0, stopped: 0 };
    const { kept, expired } = this.#metrics.series;
    const own = {
      access_events_dropped: this.#observer.dropped,
      metric_series_expired: expired,
      log_writes_dropped: this.#logDropped(),
      handover_connections_cut: this.#tenure.cutBefore,
    };
    return [
      buildFamily(version),
      openFamily(this.#observer.open),
      seriesFamily(kept),
      ...captureFamilies(this.#engine.captureStats()),
      ...cryptoFamilies(this.#engine.cryptoStats()),
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
      crypto: () => this.#engine.cryptoStats(),
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
    const has = this.#tenure.state === 'has';
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
    this.#tenure.halt();
    const gave = this.#tenure.state === 'gave';
    if (!gave) {
      this.#letGoOfControl();
      await this.#cache?.close();
    }
    await this.#tenure.leave();
    // Connections that go on meanwhile may still want names, and policy may turn against them.
    const cut = await this.#engine.drain(gave ? this.#config.drainMaxMs : drainDeadlineMs);
    this.#log.info({ cut }, 'drained');
    this.#tenure.drained(cut);
    this.#letGoOfControl();
    this.#certificates?.close();
    this.#credential?.close();
    await this.#dns.close();
    this.#engine.stop();
    await this.#tenure.close();
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
        const inherited = await this.#tenure.inherit(uid);
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
      podChanged: () => this.#engine.directChanged(),
    };
  }

  #take(update: Update): ReadonlyMap<string, string> {
    if (update.type === typeUrls.meshConfig) {
      return this.#meshConfig.update(update);
    }
    if (update.type === typeUrls.trustBundle) {
      return this.#trust?.update(update) ?? new Map();
    }
    const rejected = this.#applier.update(update);
    this.#dns.update(nameChanges(update, this.#applier));
    return rejected;
  }

  #reportReady(): void {
    this.#tenure.look();
    if (this.#tenure.state !== 'has' || this.#lacks().length > 0) {
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

  #hasCertificates(): boolean {
    const pods = this.#pods?.list() ?? [];
    return pods.every(({ spiffeId }) => this.#certificates?.has(spiffeId) ?? false);
  }

  // What it goes on with needs the control plane's word, and to be told of pods that go.
  #goOnAlone(): void {
    this.#pods?.takeNoMore();
    void this.#cache?.close();
  }
}
