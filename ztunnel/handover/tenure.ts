// SPDX-License-Identifier: Apache-2.0
// Who has the node: what there can be only one of on it is taken over from a predecessor, given to
// a successor, and taken back from one that failed.
import { setTimeout as wait } from 'node:timers/promises';
import type { Engine, PacketHandlers, Packets } from '../../native/index.ts';
import { MeshError } from '../../src/lib/error.ts';
import type { Logger } from '../../src/lib/log.ts';
import type { Predecessor } from './predecessor.ts';
import type { Tenure } from './shared-keys.ts';
import { nameSockets, type PodSockets } from './sockets.ts';
import { Successors } from './successors.ts';

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

/** `controlWaitMs` and `wholeWaitMs`, unless they are given. */
export interface TenureWaits {
  readonly controlMs?: number;
  readonly wholeMs?: number;
}

/** How far a proxy has come with all else. */
export interface Progress {
  /** The control plane has told its state. */
  readonly synced: boolean;
  /** The agent has named all pods. */
  readonly listed: boolean;
  /** What it waits for, by name; `pods` are those that it cannot carry. */
  readonly lacks: readonly string[];
  /** Each pod has its certificate. */
  readonly certified: boolean;
}

/** What a tenure is made of. */
export interface TenureParts {
  /** Carries the node until this process is ready. */
  readonly predecessor: Predecessor | undefined;
  /** Where successors come. */
  readonly socketPath: string;
  /** What is served of the node, by one process at a time. */
  readonly servers: { open(): Promise<void>; close(): Promise<void> };
  readonly engine: Pick<Engine, 'listeners' | 'takeOver' | 'releaseDirect'>;
  readonly dns: { sockets(uid: string): Promise<PodSockets> };
  listen(path: string, onConnection: (socket: Packets) => PacketHandlers): { close(): void };
  closeFd(fd: number): void;
  progress(): Progress;
  /** The node is this process's. */
  onTaken(): void;
  /** It is a successor's, for good. */
  onGiven(): void;
  readonly waits: TenureWaits | undefined;
  readonly log: Logger;
}

/** One process's part in who has the node. Main thread only. */
export class NodeTenure {
  readonly #parts: TenureParts;
  readonly #replaced = Promise.withResolvers<void>();
  #state: Tenure;
  #successors: Successors | undefined;
  #taking: Promise<void> = Promise.resolve();
  #cutBefore = 0;
  #controlIsAway = false;
  #waitedLong = false;
  #leaving = false;

  constructor(parts: TenureParts) {
    this.#parts = parts;
    this.#state = parts.predecessor === undefined ? 'has' : 'waits';
  }

  get state(): Tenure {
    return this.#state;
  }

  /** How many connections the predecessor had to cut. */
  get cutBefore(): number {
    return this.#cutBefore;
  }

  /**
   * Resolves when a successor has the node. Rejects when this process could not take it from its
   * predecessor.
   */
  get replaced(): Promise<void> {
    return this.#replaced.promise;
  }

  /** Opens what is served, where nobody else does. Rejects with MeshError when a port is taken. */
  async begin(): Promise<void> {
    if (this.#state === 'has') {
      await this.#serve();
    }
    void this.#parts.predecessor?.lost.then(() => {
      if (this.#state === 'waits' && !this.#leaving) {
        this.#beginTakeOver();
      }
    });
  }

  /** From now on there is a limit to what a successor waits for. */
  limitWaiting(): void {
    const { controlMs = controlWaitMs, wholeMs = wholeWaitMs } = this.#parts.waits ?? {};
    const away = (): void => {
      this.#controlIsAway = true;
      this.look();
    };
    const long = (): void => {
      this.#waitedLong = true;
      this.look();
    };
    if (this.#state === 'waits') {
      setTimeout(away, controlMs).unref();
      setTimeout(long, wholeMs).unref();
    }
  }

  /** Takes over when the time has come. To be called when the progress is another. */
  look(): void {
    if (this.#state === 'waits' && this.#mayTakeOver()) {
      this.#beginTakeOver();
    }
  }

  /** The predecessor's sockets of one pod: also when it has let go, for it answers DNS to its end. */
  async inherit(uid: string): Promise<PodSockets> {
    return (await this.#parts.predecessor?.sockets(uid)) ?? new Map();
  }

  /** Takes nothing over from now on, and nothing back. */
  halt(): void {
    this.#leaving = true;
  }

  /** Leaves the node to a successor that waits for it, or to the predecessor that goes on instead. */
  async leave(): Promise<void> {
    this.halt();
    const { engine, servers, predecessor } = this.#parts;
    const isAwaited = this.#successors?.busy === true;
    if (this.#state === 'takes' || isAwaited) {
      engine.releaseDirect();
    }
    if (this.#state === 'has' && isAwaited) {
      await servers.close();
      this.#successors?.close();
    }
    predecessor?.close();
  }

  /** Tells the successor that all has ended, and how many connections had to be cut. */
  drained(cut: number): void {
    this.#successors?.drained(cut);
  }

  /** Ends all. */
  async close(): Promise<void> {
    await this.#taking;
    await this.#parts.servers.close();
    this.#successors?.close();
  }

  // Without state, or the agent's list, this proxy would carry less than the one before it. And
  // without certificates connections would wait here, which the other proxy can carry at once.
  #mayTakeOver(): boolean {
    const { synced, listed, lacks, certified } = this.#parts.progress();
    const knows = synced || this.#controlIsAway;
    if (!knows || !listed || lacks.some((what) => what !== 'pods')) {
      return false;
    }
    return this.#waitedLong || (lacks.length === 0 && certified);
  }

  #beginTakeOver(): void {
    this.#state = 'takes';
    this.#taking = this.#takeOver().catch((error: unknown) => {
      this.#replaced.reject(MeshError.from(error));
    });
  }

  async #takeOver(): Promise<void> {
    const { predecessor, engine, log } = this.#parts;
    await predecessor?.take();
    if (this.#leaving) {
      return;
    }
    if (predecessor?.isGone === true) {
      engine.takeOver();
    }
    // Where it goes on accepting nothing is accepted here that would be cut if this fails.
    await this.#serveSoon(performance.now() + portsWaitMs);
    if (this.#leaving) {
      return;
    }
    engine.takeOver();
    this.#state = 'has';
    predecessor?.took();
    void predecessor?.ended.then((cut) => {
      this.#cutBefore = cut ?? 0;
      log.info({ cut }, 'the node proxy before this one has ended');
    });
    log.info({ pending: this.#parts.progress().lacks }, 'took over');
    this.#parts.onTaken();
  }

  async #serve(): Promise<void> {
    const { servers, socketPath, engine, dns, listen, closeFd, log } = this.#parts;
    await servers.open();
    try {
      this.#successors = new Successors(socketPath, {
        listen,
        sockets: async (uid) => nameSockets(await engine.listeners(uid), await dns.sockets(uid)),
        release: () => this.#release(),
        replaced: () => this.#giveAway(),
        takeBack: () => this.#takeBack(),
        closeFd,
        log,
      });
    } catch (error) {
      await servers.close();
      throw MeshError.from(error);
    }
  }

  // Whoever had the ports before may be on its way out.
  async #serveSoon(until: number): Promise<void> {
    while (!this.#leaving) {
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
    this.#state = 'gives';
    await this.#parts.servers.close();
    // Last, and not long before the successor begins: policy may turn against direct connections.
    this.#parts.engine.releaseDirect();
  }

  #giveAway(): void {
    this.#state = 'gave';
    this.#parts.onGiven();
    this.#replaced.resolve();
  }

  #takeBack(): void {
    if (this.#leaving) {
      return;
    }
    this.#state = 'has';
    this.#parts.engine.takeOver();
    this.#parts.log.warn('the successor ended too early: this process goes on');
    this.#taking = this.#serveSoon(Number.POSITIVE_INFINITY).catch((error: unknown) => {
      this.#replaced.reject(MeshError.from(error));
    });
  }
}
