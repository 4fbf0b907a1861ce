// SPDX-License-Identifier: Apache-2.0
// The node proxy put together: what is built from what, and in which order it starts and ends.
import type { Engine, EventBatch } from '../native/index.ts';
import { MeshError } from '../src/lib/error.ts';
import type { Logger } from '../src/lib/log.ts';
import { type Update, XdsClient } from '../src/xds/client.ts';
import { typeUrls } from '../src/xds/wire.ts';
import { Applier } from './apply.ts';
import { Certificates } from './certs.ts';
import type { Config } from './config.ts';
import { nameChanges } from './dns/changes.ts';
import type { DnsProxy } from './dns/proxy.ts';
import { Metrics } from './metrics.ts';
import { NodeCredential } from './node-credential.ts';
import { Observer } from './observe.ts';
import { type PodEngine, Pods } from './pods.ts';
import { type StatusServer, serveMetrics, serveReadiness } from './status-server.ts';
import { ZdsClient, type ZdsTransport } from './zds.ts';

/** What the proxy uses of the engine. */
export type ProxyEngine = Pick<
  Engine,
  | 'apply'
  | 'setIdentity'
  | 'removeIdentity'
  | 'addPod'
  | 'removePod'
  | 'counters'
  | 'drain'
  | 'stop'
>;

/** What the proxy uses of the DNS proxy. */
export type ProxyDns = Pick<DnsProxy, 'update' | 'addPod' | 'removePod' | 'counts' | 'close'>;

/** The native parts, as `native/index.ts` has them. */
export interface NativeParts {
  engine(onEvents: (batch: EventBatch) => void): ProxyEngine;
  readonly transport: ZdsTransport;
  dns(): ProxyDns;
}

/** How long streams may go on after a stop was asked for, in milliseconds. */
export const drainDeadlineMs = 5_000;

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
  readonly #servers: StatusServer[] = [];
  #credential: NodeCredential | undefined;
  #certificates: Certificates | undefined;
  #pods: Pods | undefined;
  #zds: ZdsClient | undefined;
  #xds: XdsClient | undefined;
  #stopped: Promise<void> | undefined;
  #wasReady = false;

  constructor(config: Config, native: NativeParts, log: Logger) {
    this.#config = config;
    this.#log = log;
    this.#transport = native.transport;
    this.#dns = native.dns();
    this.#engine = native.engine((batch) => this.#observer.onEvents(batch));
    this.#applier = new Applier(this.#engine, config.node);
    this.#metrics = new Metrics(() => ({
      ...this.#engine.counters(),
      access_events_dropped: this.#observer.dropped,
      pods: this.#pods?.count ?? 0,
    }));
    this.#observer = new Observer(this.#applier, log, this.#metrics);
  }

  /**
   * Starts everything; resolves when the node is a member and looks for the control plane's state
   * and the agent's pods, which may both be away. Rejects when the node cannot join, a port is
   * taken, or `signal` fires.
   */
  async start(signal: AbortSignal): Promise<void> {
    const { node, control, stateDir, joinTokenFile } = this.#config;
    const log = this.#log;
    const metrics = await serveMetrics(this.#config.metrics, this.#metrics);
    this.#servers.push(metrics);
    const readiness = await serveReadiness(this.#config.readiness, () => this.pending());
    this.#servers.push(readiness);
    log.info({ metrics: metrics.port, readiness: readiness.port }, 'listening');
    const options = { node, control, stateDir, joinTokenFile, log };
    const credential = await NodeCredential.open(options, signal);
    this.#credential = credential;
    this.#certificates = new Certificates(credential, this.#engine, log);
    this.#pods = new Pods({
      engine: this.#carriers(),
      placement: this.#applier,
      identities: this.#certificates,
      closeFd: (fd) => this.#transport.closeFd(fd),
      onChange: () => this.#reportReady(),
      log,
    });
    this.#zds = new ZdsClient(this.#config.zdsPath, this.#transport, this.#pods, log);
    this.#applier.onChange(() => this.#certificates?.expect(this.#applier.localIdentities()));
    this.#xds = this.#xdsClient(credential);
    credential.onRenewed(() => this.#xds?.reconnect());
    this.#xds.start();
  }

  /** What the proxy still waits for; nothing when it is ready. */
  pending(): string[] {
    const waits: [boolean, string][] = [
      [this.#stopped !== undefined, 'draining'],
      [this.#credential === undefined, 'node credential'],
      [this.#xds?.synced !== true, 'control plane state'],
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
    this.#certificates?.close();
    this.#credential?.close();
    // Connections that go on meanwhile may still want names.
    await this.#engine.drain(drainDeadlineMs);
    await this.#dns.close();
    this.#engine.stop();
    this.#observer.close();
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
      types: [typeUrls.authorization, typeUrls.address],
      onUpdate: (update) => this.#take(update),
      // Pods are checked against the control plane's state, so that has to be there first.
      onSynced: () => this.#zds?.start(),
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
      throw new MeshError('internal', 'the trust bundle was not asked for');
    }
    const rejected = this.#applier.update(update);
    this.#dns.update(nameChanges(update, rejected));
    return rejected;
  }

  #reportReady(): void {
    if (!this.#wasReady && this.pending().length === 0) {
      this.#wasReady = true;
      this.#log.info({ pods: this.#pods?.count }, 'ready');
    }
  }
}
