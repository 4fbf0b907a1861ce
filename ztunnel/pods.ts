// SPDX-License-Identifier: Apache-2.0
// The pods of this node whose traffic the engine carries, as the CNI agent hands them over.
import { fstatSync } from 'node:fs';
import type { PodSpec } from '../native/index.ts';
import { Backoff } from '../src/lib/backoff.ts';
import { MeshError } from '../src/lib/error.ts';
import type { Logger } from '../src/lib/log.ts';
import type { PodClaim } from './apply.ts';
import { spiffeIdOf, type TableWorkload } from './translate.ts';
import type { ZdsHandler, ZdsRequest } from './zds.ts';

/** A pod to carry, with what its DNS needs to know. */
export interface CarriedPod extends PodSpec {
  readonly namespace: string;
  /** The addresses of its own resolvers. */
  readonly nameservers: readonly string[];
}

/** A pod, for those who show it. */
export interface PodEntry {
  readonly uid: string;
  readonly claim: PodClaim;
  /** Empty while it does not run. */
  readonly spiffeId: string;
  readonly running: boolean;
}

/** What carries the traffic: the engine and the DNS proxy. */
export interface PodEngine {
  addPod(pod: CarriedPod): Promise<void>;
  removePod(uid: string): Promise<void>;
  /** What the kernel lets a pod have may have changed. */
  podChanged(): void;
}

/** What says which workloads belong on this node: the applied control plane state. */
export interface Placement {
  waitPlaced(claim: PodClaim, timeoutMs: number): Promise<TableWorkload | undefined>;
}

/** What keeps the certificates of the pods' identities. */
export interface IdentityHolder {
  hold(spiffeId: string, podUid: string): void;
  release(spiffeId: string, podUid: string): void;
}

/** What pods are made of. `closeFd` closes a descriptor that came with a message. */
export interface PodsParts {
  readonly engine: PodEngine;
  readonly placement: Placement;
  readonly identities: IdentityHolder;
  readonly closeFd: (fd: number) => void;
  /** Whether a descriptor is of a network namespace. */
  readonly isNetns: (fd: number) => boolean;
  /** Called after each request and each retry. */
  readonly onChange: () => void;
  readonly log: Logger;
}

/** Most pods of one node. */
export const podsMax = 1024;
/**
 * How long a single add waits for the control plane to place the pod. The protocol is serial, so
 * every other add waits with it. Adds of a snapshot do not wait at all: the control plane's state
 * was there before the agent was asked, and an agent may list up to `podsMax` pods that are gone.
 */
export const placementWaitMs = 1_000;
/**
 * How long until a pod that could not be started is tried again: first, and at most, doubling in
 * between. Soon at first, since its ports may be those of a predecessor that is about to end.
 */
export const retryFirstMs = 100;
export const retryMaxMs = 5_000;

interface Running {
  readonly claim: PodClaim;
  readonly nameservers: readonly string[];
  readonly inode: number;
  readonly spiffeId: string;
}

/** A pod that was handed over but does not run. It keeps the namespace's descriptor. */
interface Pending {
  readonly uid: string;
  readonly claim: PodClaim;
  readonly nameservers: readonly string[];
  readonly netns: number;
  readonly inode: number;
  readonly backoff: Backoff;
  timer: NodeJS.Timeout | undefined;
}

function sameClaim(a: PodClaim, b: PodClaim): boolean {
  return a.name === b.name && a.namespace === b.namespace && a.serviceAccount === b.serviceAccount;
}

function inodeOf(fd: number): number | undefined {
  try {
    return fstatSync(fd).ino;
  } catch {
    return undefined;
  }
}

/**
 * Starts, restarts and ends pods on the agent's word, checked against the control plane's: an add
 * that it does not confirm is refused (fail-closed). One request at a time, on the main thread.
 */
export class Pods implements ZdsHandler {
  readonly #parts: PodsParts;
  readonly #running = new Map<string, Running>();
  readonly #pending = new Map<string, Pending>();
  #listed = new Set<string>();
  #snapshotHandled = false;
  #closed = false;
  #takesNoMore = false;
  #started = 0;
  #stopped = 0;
  #tail: Promise<void> = Promise.resolve();

  constructor(parts: PodsParts) {
    this.#parts = parts;
  }

  /** True when the connected agent's snapshot was carried out and no pod waits to be started. */
  get ready(): boolean {
    return this.#snapshotHandled && this.#pending.size === 0;
  }

  /** Whether the connected agent's list was carried out, though some pods may wait. */
  get listed(): boolean {
    return this.#snapshotHandled;
  }

  /** How many pods were started and stopped so far. */
  get counts(): { readonly started: number; readonly stopped: number } {
    return { started: this.#started, stopped: this.#stopped };
  }

  /** How many pods are carried. */
  get count(): number {
    return this.#running.size;
  }

  /** Every pod of this node that was handed over, and whether it runs. */
  list(): PodEntry[] {
    const running = [...this.#running].map(([uid, { claim, spiffeId }]) => {
      return { uid, claim, spiffeId, running: true };
    });
    const pending = [...this.#pending.values()].map(({ uid, claim }) => {
      return { uid, claim, spiffeId: '', running: false };
    });
    return [...running, ...pending];
  }

  onConnect(): void {
    this.#listed = new Set();
    this.#snapshotHandled = false;
  }

  /** Pods go on while the agent is away. */
  onDisconnect(): void {
    this.#snapshotHandled = false;
  }

  onRequest(request: ZdsRequest, netns: number): Promise<void> {
    return this.#inTurn(() => this.#carryOut(request, netns));
  }

  /** Another process has the node: pods that do not run here are refused, and wait no more. */
  takeNoMore(): void {
    this.#takesNoMore = true;
    for (const pending of [...this.#pending.values()]) {
      this.#forget(pending);
    }
  }

  /** Starts and retries no more, and closes what waits. Running pods are the engine's to end. */
  close(): void {
    this.#closed = true;
    for (const pending of [...this.#pending.values()]) {
      this.#forget(pending);
    }
  }

  // Requests and retries share one queue, so that no two of them change a pod at once. It holds
  // at most what the connection lets wait, and one retry for each pending pod.
  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#tail.then(work).finally(this.#parts.onChange);
    this.#tail = done.catch(() => undefined);
    return done;
  }

  async #carryOut(request: ZdsRequest, netns: number): Promise<void> {
    switch (request.kind) {
      case 'add':
        this.#listed.add(request.uid);
        await this.#add(request, netns);
        return;
      case 'keep':
        this.#listed.add(request.uid);
        if (!this.#running.has(request.uid)) {
          throw new MeshError('invalid', `pod ${request.uid} cannot be kept: it does not run`);
        }
        return;
      case 'del':
        this.#listed.delete(request.uid);
        await this.#remove(request.uid);
        return;
      default:
        await this.#finishSnapshot();
    }
  }

  async #add(request: Extract<ZdsRequest, { kind: 'add' }>, netns: number): Promise<void> {
    const { uid, claim, nameservers } = request;
    const { closeFd, isNetns } = this.#parts;
    // It never becomes one, so there is nothing to try again.
    const inode = isNetns(netns) ? inodeOf(netns) : undefined;
    if (inode === undefined) {
      closeFd(netns);
      throw new MeshError('invalid', 'the descriptor is no network namespace');
    }
    if (this.#closed) {
      closeFd(netns);
      throw new MeshError('unavailable', 'the node proxy stops');
    }
    const running = this.#running.get(uid);
    const sameServers = running?.nameservers.join() === nameservers.join();
    if (running?.inode === inode && sameServers && sameClaim(running.claim, claim)) {
      closeFd(netns);
      // The agent says so again when a pod may have direct connections that had none, or none now.
      this.#parts.engine.podChanged();
      return;
    }
    if (this.#takesNoMore) {
      closeFd(netns);
      throw new MeshError('unavailable', 'another process carries this node');
    }
    await this.#remove(uid);
    if (this.#running.size + this.#pending.size >= podsMax) {
      closeFd(netns);
      throw new MeshError('limit', `over ${podsMax} pods on this node`);
    }
    // Without jitter: retries stand in one line, and no other process marches in step.
    const backoff = new Backoff({ firstMs: retryFirstMs, maxMs: retryMaxMs, jitter: 0 });
    const pending: Pending = { uid, claim, nameservers, netns, inode, backoff, timer: undefined };
    this.#pending.set(uid, pending);
    await this.#start(pending, this.#snapshotHandled ? placementWaitMs : 0);
  }

  // A pod that fails to start stays pending: after a restart of ours its rules are in place
  // already and nobody would send it again.
  async #start(pending: Pending, waitMs: number): Promise<void> {
    const { uid, claim, nameservers, inode } = pending;
    try {
      const workload = await this.#confirmed(claim, waitMs);
      if (this.#pending.get(uid) !== pending) {
        // Its descriptor is closed, and the number may be another file's by now.
        throw new MeshError('unavailable', 'the node proxy stops');
      }
      const spiffeId = spiffeIdOf(workload);
      await this.#carry(pending, workload.uid, spiffeId);
      this.#running.set(uid, { claim, nameservers, inode, spiffeId });
      this.#started += 1;
      this.#forget(pending);
      this.#parts.log.info({ pod: uid, workload: workload.uid, identity: spiffeId }, 'pod added');
    } catch (error) {
      if (this.#pending.get(uid) === pending) {
        pending.timer = setTimeout(() => this.#retry(pending), pending.backoff.next());
      }
      throw error;
    }
  }

  async #confirmed(claim: PodClaim, waitMs: number): Promise<TableWorkload> {
    const workload = await this.#parts.placement.waitPlaced(claim, waitMs);
    if (workload === undefined) {
      const { namespace, name, serviceAccount } = claim;
      throw new MeshError(
        'denied',
        `no pod ${namespace}/${name} with service account ${serviceAccount} is placed on this node`,
      );
    }
    return workload;
  }

  async #carry(pending: Pending, workloadUid: string, spiffeId: string): Promise<void> {
    const { engine, identities } = this.#parts;
    const { uid, claim, nameservers, netns } = pending;
    const { namespace } = claim;
    identities.hold(spiffeId, uid);
    try {
      await engine.addPod({ uid, workloadUid, spiffeId, netns, namespace, nameservers });
    } catch (error) {
      identities.release(spiffeId, uid);
      throw error;
    }
  }

  #retry(pending: Pending): void {
    this.#inTurn(async () => {
      if (this.#pending.get(pending.uid) === pending) {
        await this.#start(pending, 0);
      }
    }).catch((error: unknown) => {
      const { message } = MeshError.from(error);
      this.#parts.log.warn({ pod: pending.uid, reason: message }, 'pod is still not carried');
    });
  }

  // Does nothing the second time, as when `close` came while the engine was starting the pod.
  #forget(pending: Pending): void {
    if (this.#pending.get(pending.uid) !== pending) {
      return;
    }
    clearTimeout(pending.timer);
    this.#pending.delete(pending.uid);
    this.#parts.closeFd(pending.netns);
  }

  async #remove(uid: string): Promise<void> {
    const pending = this.#pending.get(uid);
    if (pending !== undefined) {
      this.#forget(pending);
    }
    const running = this.#running.get(uid);
    if (running === undefined) {
      return;
    }
    this.#running.delete(uid);
    this.#stopped += 1;
    await this.#parts.engine.removePod(uid);
    this.#parts.identities.release(running.spiffeId, uid);
    this.#parts.log.info({ pod: uid }, 'pod removed');
  }

  async #finishSnapshot(): Promise<void> {
    for (const uid of [...this.#running.keys(), ...this.#pending.keys()]) {
      if (!this.#listed.has(uid)) {
        await this.#remove(uid);
      }
    }
    this.#snapshotHandled = true;
  }
}
