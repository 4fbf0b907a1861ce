// SPDX-License-Identifier: Apache-2.0
// The main thread's end of the DNS proxy: keeps the DNS thread told of names and pods, and starts
// it again, with all it has to know, when it ends.
import { Worker } from 'node:worker_threads';
import { Backoff } from '../../src/lib/backoff.ts';
import { MeshError } from '../../src/lib/error.ts';
import type { Logger } from '../../src/lib/log.ts';
import type {
  DnsDone,
  DnsPod,
  DnsReply,
  DnsRequest,
  DnsSockets,
  DnsThreadData,
} from './messages.ts';
import type { NameChange } from './names.ts';
import type { PodDnsCounts } from './pod-server.ts';

/** How long the DNS thread may take for one request, in milliseconds. */
export const replyTimeoutMs = 5_000;
/** How long until a pod that a new thread could not serve is tried again, in milliseconds. */
export const retryMs = 1_000;
/** Most memory of the DNS thread's heap, in MiB; past it the thread is started anew. */
export const heapMiBMax = 512;

/** What the proxy works with. */
export interface DnsProxyParts extends DnsThreadData {
  /** Every name there is, for a thread that starts. */
  readonly names: () => readonly NameChange[];
  /** The resolvers of pods that bring none. */
  readonly nameservers: readonly string[];
  /** Most memory of the thread's heap, in MiB; `heapMiBMax` unless a test says otherwise. */
  readonly heapMiB?: number;
  /** Opens the namespace that a descriptor is of once more. */
  readonly reopen: (netns: number) => number;
  readonly closeFd: (fd: number) => void;
  readonly log: Logger;
}

// In a bundle the thread's program stands beside it.
const threadFile = new URL(
  import.meta.url.endsWith('.ts') ? './thread.ts' : './dns-thread.js',
  import.meta.url,
);

interface Waiting {
  readonly resolve: (done: DnsDone) => void;
  readonly reject: (error: MeshError) => void;
  readonly timer: NodeJS.Timeout;
}

type Ticketed = Exclude<DnsRequest, { kind: 'names' }>;
type Untold<T> = T extends unknown ? Omit<T, 'ticket'> : never;

/** The DNS proxy of one node. Its thread starts with the first pod. Main thread only. */
export class DnsProxy {
  readonly #parts: DnsProxyParts;
  readonly #pods = new Map<string, DnsPod>();
  readonly #waiting = new Map<number, Waiting>();
  readonly #backoff = new Backoff({ firstMs: 100, maxMs: 10_000, jitter: 0.2 });
  #worker: Worker | undefined;
  #timer: NodeJS.Timeout | undefined;
  readonly #retries = new Set<NodeJS.Timeout>();
  #lastTicket = 0;
  #restarts = 0;
  #started = false;
  #closed = false;

  constructor(parts: DnsProxyParts) {
    this.#parts = parts;
  }

  /** How often the DNS thread had to be started again. */
  get restarts(): number {
    return this.#restarts;
  }

  /** Takes changes of names in. They are in force soon after, not at once. */
  update(changes: readonly NameChange[]): void {
    if (changes.length > 0) {
      this.#post({ kind: 'names', changes });
    }
  }

  /**
   * Answers a pod's queries from when this resolves, at sockets that another process had before
   * where they are given; those are its own from now on. `netns` stays the caller's. Rejects with
   * MeshError, and answers nothing, when its sockets cannot be opened.
   */
  async addPod(pod: DnsPod, inherited: DnsSockets = new Map()): Promise<void> {
    if (!this.#started && !this.#closed) {
      this.#started = true;
      this.#start();
    }
    await this.removePod(pod.uid);
    const nameservers = pod.nameservers.length > 0 ? pod.nameservers : this.#parts.nameservers;
    const own = { ...pod, nameservers, netns: this.#parts.reopen(pod.netns) };
    this.#pods.set(pod.uid, own);
    try {
      await this.#ask({ kind: 'add', pod: own, inherited });
    } catch (error) {
      await this.removePod(pod.uid);
      throw MeshError.from(error);
    }
  }

  /** Answers a pod's queries no more; an unknown uid is no error. */
  async removePod(uid: string): Promise<void> {
    const pod = this.#pods.get(uid);
    if (pod === undefined) {
      return;
    }
    this.#pods.delete(uid);
    try {
      if (this.#worker !== undefined) {
        await this.#ask({ kind: 'remove', uid });
      }
    } catch (error) {
      // A thread that does not answer keeps no descriptor that it could use by number later on.
      this.#parts.log.error({ pod: uid, reason: MeshError.from(error).message }, 'DNS is stuck');
      await this.#worker?.terminate();
    }
    this.#parts.closeFd(pod.netns);
  }

  /** What was counted, by pod; empty when the thread does not answer. */
  counts(): Promise<ReadonlyMap<string, PodDnsCounts>> {
    return this.#ask({ kind: 'counts' }).then(
      ({ counts }) => counts,
      () => new Map(),
    );
  }

  /** Duplicates of a pod's sockets, which are the caller's; none for an unknown one. */
  async sockets(uid: string): Promise<DnsSockets> {
    return this.#pods.has(uid) ? (await this.#ask({ kind: 'sockets', uid })).sockets : new Map();
  }

  /** Ends the thread and every socket of it. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#worker?.terminate();
    for (const timer of this.#retries) {
      clearTimeout(timer);
    }
    for (const pod of this.#pods.values()) {
      this.#parts.closeFd(pod.netns);
    }
    this.#pods.clear();
  }

  #start(): void {
    const { clusterDomain, mark, heapMiB = heapMiBMax, log } = this.#parts;
    const worker = new Worker(threadFile, {
      name: 'weft-dns',
      workerData: { clusterDomain, mark } satisfies DnsThreadData,
      // Its sockets are made by the addon, not by Node.
      trackUnmanagedFds: false,
      resourceLimits: { maxOldGenerationSizeMb: heapMiB },
    });
    this.#worker = worker;
    worker.on('message', (reply: DnsReply) => this.#take(reply));
    worker.on('error', (error: unknown) => {
      log.error({ reason: MeshError.from(error).message }, 'the DNS thread failed');
    });
    worker.on('exit', () => this.#exited(worker));
    this.#post({ kind: 'names', changes: this.#parts.names() });
  }

  // Pods are without DNS meanwhile: their queries are refused, not sent past the mesh.
  #exited(worker: Worker): void {
    for (const waiting of [...this.#waiting.values()]) {
      waiting.reject(new MeshError('unavailable', 'the DNS thread ended'));
    }
    if (this.#closed || this.#worker !== worker) {
      return;
    }
    this.#worker = undefined;
    const waitMs = Math.round(this.#backoff.next());
    this.#parts.log.warn({ waitMs }, 'the DNS thread is started again');
    this.#timer = setTimeout(() => this.#restart(), waitMs);
  }

  #restart(): void {
    this.#restarts += 1;
    this.#start();
    for (const pod of this.#pods.values()) {
      this.#addAgain(pod);
    }
  }

  // Until it succeeds: somebody in the pod may have taken the port meanwhile.
  #addAgain(pod: DnsPod): void {
    const worker = this.#worker;
    this.#ask({ kind: 'add', pod, inherited: new Map() }).catch((error: unknown) => {
      const { message } = MeshError.from(error);
      this.#parts.log.error({ pod: pod.uid, reason: message }, 'a pod is without DNS');
      const timer = setTimeout(() => {
        this.#retries.delete(timer);
        // A thread that came later was told of all pods.
        if (this.#pods.get(pod.uid) === pod && this.#worker === worker) {
          this.#addAgain(pod);
        }
      }, retryMs);
      this.#retries.add(timer);
    });
  }

  #take(reply: DnsReply): void {
    if (reply.kind === 'trouble') {
      this.#parts.log.warn({ pod: reply.uid, reason: reply.reason }, 'trouble with DNS');
      return;
    }
    const waiting = this.#waiting.get(reply.ticket);
    if (reply.error === '') {
      this.#backoff.reset();
      waiting?.resolve(reply);
    } else {
      waiting?.reject(new MeshError('unavailable', `DNS: ${reply.error}`));
    }
  }

  #post(request: DnsRequest): void {
    this.#worker?.postMessage(request);
  }

  #ask(request: Untold<Ticketed>): Promise<DnsDone> {
    if (this.#worker === undefined) {
      return Promise.reject(new MeshError('unavailable', 'the DNS thread is not there'));
    }
    this.#lastTicket += 1;
    const ticket = this.#lastTicket;
    const { promise, resolve, reject } = Promise.withResolvers<DnsDone>();
    const late = (): void => reject(new MeshError('timeout', 'the DNS thread is silent'));
    this.#waiting.set(ticket, { resolve, reject, timer: setTimeout(late, replyTimeoutMs) });
    this.#post({ ...request, ticket });
    return promise.finally(() => {
      clearTimeout(this.#waiting.get(ticket)?.timer);
      this.#waiting.delete(ticket);
    });
  }
}
