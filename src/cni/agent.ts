// SPDX-License-Identifier: Apache-2.0
// The pods of this node that are in the mesh: captured, and handed to the node proxy.
import { fstatSync, statfsSync, statSync } from 'node:fs';
import { Backoff } from '../lib/backoff.ts';
import { MeshError } from '../lib/error.ts';
import type { Logger } from '../lib/log.ts';
import type { Capture } from './capture.ts';
import type { ZdsPod } from './zds-server.ts';

/** What a container runtime tells about a pod. */
export interface PodEnrolment {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** A file of the pod's network namespace. */
  readonly netns: string;
  /** The addresses of its own resolvers, at most `nameserversMax`. */
  readonly nameservers: readonly string[];
}

/** What the agent works with. */
export interface AgentParts {
  readonly capture: Capture;
  /** Hands pods over to the node proxy. */
  readonly proxies: { add(pod: ZdsPod): Promise<void>; remove(uid: string): Promise<void> };
  /** Opens a namespace file; throws MeshError. */
  readonly openPath: (path: string) => number;
  readonly closeFd: (fd: number) => void;
  /** Keeps the list over a restart of the agent. */
  readonly save: (pods: readonly PodEnrolment[]) => void;
  readonly log: Logger;
}

/** Most pods of one node. */
export const podsMax = 1024;
/** Most resolvers of one pod, as in the C library. */
export const nameserversMax = 3;

/** First and longest wait until a pod of an earlier run is tried again. */
export const takeOverFirstMs = 1_000;
export const takeOverMaxMs = 60_000;

const nsfsMagic = 0x6e736673;

interface Enrolled {
  readonly pod: PodEnrolment;
  readonly fd: number;
  readonly inode: number;
  /** The capture's epoch when its rules were installed. */
  epoch: string;
}

/** A pod of an earlier run that is not enrolled again yet. Its rules of that run are in force. */
interface Left {
  readonly pod: PodEnrolment;
  readonly backoff: Backoff;
  timer: NodeJS.Timeout | undefined;
}

// By descriptor, so that a path that changes meanwhile cannot send the rules somewhere else.
const pathOfFd = (fd: number): string => `/proc/${process.pid}/fd/${fd}`;

// Whether there is nothing at the path, which a refused open alone does not say.
function isGone(path: string): boolean {
  try {
    statSync(path);
    return false;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ENOENT';
  }
}

function sameClaim(a: PodEnrolment, b: PodEnrolment): boolean {
  return (
    a.name === b.name &&
    a.namespace === b.namespace &&
    a.serviceAccount === b.serviceAccount &&
    a.nameservers.join() === b.nameservers.join()
  );
}

/**
 * Enrols and un-enrols pods; what is asked for one pod is done in order, different pods go side by
 * side. A pod is captured before the proxy hears of it and until the proxy let go of it, so its
 * traffic is refused rather than sent in plaintext (fail-closed). Main thread only.
 */
export class Agent {
  readonly #parts: AgentParts;
  readonly #pods = new Map<string, Enrolled>();
  readonly #left = new Map<string, Left>();
  readonly #turns = new Map<string, Promise<void>>();

  constructor(parts: AgentParts) {
    this.#parts = parts;
  }

  /** The enrolled pods, by uid. */
  list(): PodEnrolment[] {
    return [...this.#pods.values()].map(({ pod }) => pod);
  }

  /** The enrolled pods for a proxy that connects; renews rules that depend on its cgroup. */
  async snapshot(): Promise<ZdsPod[]> {
    const epoch = this.#parts.capture.epoch();
    for (const { pod, epoch: before } of [...this.#pods.values()]) {
      if (before !== epoch) {
        await this.#inTurn(pod.uid, () => this.#renew(pod.uid));
      }
    }
    return [...this.#pods.values()].map(({ pod, fd }) => ({ ...pod, netns: fd }));
  }

  /**
   * Captures a pod and hands it to the proxy. A pod that is enrolled just so is left alone; one
   * with another namespace or account is replaced. When this rejects the pod is not captured.
   */
  enrol(pod: PodEnrolment): Promise<void> {
    return this.#inTurn(pod.uid, async () => {
      const fd = this.#parts.openPath(pod.netns);
      try {
        await this.#enrol(pod, fd);
      } catch (error) {
        this.#parts.closeFd(fd);
        throw MeshError.from(error);
      }
    });
  }

  /** Takes a pod out of the mesh; an unknown uid and a namespace that is gone are no errors. */
  unenrol(uid: string): Promise<void> {
    return this.#inTurn(uid, () => this.#drop(uid));
  }

  /**
   * Takes pods over from an earlier run of the agent. They are captured again and stay so; the
   * proxy gets them when it connects. A pod whose namespace is gone is forgotten; one that fails
   * otherwise is kept, captured as it was, and tried again with backoff.
   */
  async restore(pods: readonly PodEnrolment[]): Promise<void> {
    for (const pod of pods) {
      const backoff = new Backoff({ firstMs: takeOverFirstMs, maxMs: takeOverMaxMs, jitter: 0.2 });
      this.#left.set(pod.uid, { pod, backoff, timer: undefined });
    }
    for (const { uid } of pods) {
      await this.#inTurn(uid, () => this.#takeOver(uid));
    }
    this.#save();
  }

  async #takeOver(uid: string): Promise<void> {
    const left = this.#left.get(uid);
    if (left === undefined) {
      return;
    }
    const { pod } = left;
    try {
      await this.#capture(pod);
      this.#forgetLeft(uid);
    } catch (thrown) {
      const error = MeshError.from(thrown);
      const { log } = this.#parts;
      if (error.code === 'invalid' || isGone(pod.netns)) {
        this.#forgetLeft(uid);
        log.warn({ uid, reason: error.message }, 'a pod was not taken over');
        return;
      }
      const waitMs = Math.round(left.backoff.next());
      log.error({ uid, reason: error.message, waitMs }, 'a pod is not taken over yet');
      // It need not keep the process: the pod is on the list for the next run too.
      left.timer = setTimeout(() => this.#retryInTurn(uid), waitMs).unref();
    }
  }

  async #capture(pod: PodEnrolment): Promise<void> {
    const { capture, closeFd, openPath } = this.#parts;
    const fd = openPath(pod.netns);
    try {
      const inode = this.#check(pod, fd);
      const epoch = capture.epoch();
      await capture.install(pathOfFd(fd));
      this.#pods.set(pod.uid, { pod, fd, inode, epoch });
    } catch (error) {
      closeFd(fd);
      throw error;
    }
  }

  #retryInTurn(uid: string): void {
    this.#inTurn(uid, () => this.#retry(uid)).catch((error: unknown) => {
      this.#parts.log.error({ uid, reason: MeshError.from(error).message }, 'a retry failed');
    });
  }

  // By now a proxy may be connected, which has to be told of the pod by itself.
  async #retry(uid: string): Promise<void> {
    const tried = this.#left.has(uid);
    await this.#takeOver(uid);
    const enrolled = this.#pods.get(uid);
    if (tried && !this.#left.has(uid)) {
      this.#save();
    }
    if (!tried || enrolled === undefined) {
      return;
    }
    const { proxies, log } = this.#parts;
    try {
      await proxies.add({ ...enrolled.pod, netns: enrolled.fd });
      log.info({ uid }, 'a pod was taken over late');
    } catch (error) {
      // A proxy that refused it keeps it as pending; without one, the next snapshot has it.
      log.warn({ uid, reason: MeshError.from(error).message }, 'a pod waits for the proxy');
    }
  }

  // In the pod's turn, or an un-enrolment could end in between: its rules would come back, in
  // whatever namespace has the descriptor's number by then.
  async #renew(uid: string): Promise<void> {
    const { capture, log } = this.#parts;
    const enrolled = this.#pods.get(uid);
    const epoch = capture.epoch();
    if (enrolled === undefined || enrolled.epoch === epoch) {
      return;
    }
    await capture.install(pathOfFd(enrolled.fd));
    enrolled.epoch = epoch;
    log.info({ uid }, 'capture renewed for a new proxy');
  }

  #forgetLeft(uid: string): boolean {
    clearTimeout(this.#left.get(uid)?.timer);
    return this.#left.delete(uid);
  }

  #save(): void {
    const left = [...this.#left.values()].map(({ pod }) => pod);
    this.#parts.save([...this.list(), ...left]);
  }

  #inTurn(uid: string, work: () => Promise<void>): Promise<void> {
    const done = (this.#turns.get(uid) ?? Promise.resolve()).then(work);
    const settled = done
      .catch(() => undefined)
      .then(() => {
        if (this.#turns.get(uid) === settled) {
          this.#turns.delete(uid);
        }
      });
    this.#turns.set(uid, settled);
    return done;
  }

  #check(pod: PodEnrolment, fd: number): number {
    if (statfsSync(pathOfFd(fd)).type !== nsfsMagic) {
      throw new MeshError('invalid', `${pod.netns} is not a namespace`);
    }
    const inode = fstatSync(fd).ino;
    for (const other of this.#pods.values()) {
      if (other.inode === inode && other.pod.uid !== pod.uid) {
        throw new MeshError('conflict', `pod ${other.pod.uid} has this network namespace`);
      }
    }
    const known = this.#pods.has(pod.uid) || this.#left.has(pod.uid);
    if (!known && this.#pods.size + this.#left.size >= podsMax) {
      throw new MeshError('limit', `there are ${podsMax} pods already`);
    }
    return inode;
  }

  async #enrol(pod: PodEnrolment, fd: number): Promise<void> {
    const inode = this.#check(pod, fd);
    const before = this.#pods.get(pod.uid);
    if (before !== undefined) {
      if (before.inode === inode && sameClaim(before.pod, pod)) {
        this.#parts.closeFd(fd);
        return;
      }
      await this.#drop(pod.uid);
    }
    // What the runtime says now takes the place of what an earlier run knew.
    const wasLeft = this.#forgetLeft(pod.uid);
    const { capture, proxies, log } = this.#parts;
    let epoch = capture.epoch();
    try {
      await capture.install(pathOfFd(fd));
      await proxies.add({ ...pod, netns: fd });
      const now = capture.epoch();
      if (now !== epoch) {
        // A proxy came meanwhile, and its snapshot had this pod without a renewal.
        await capture.install(pathOfFd(fd));
        epoch = now;
      }
    } catch (error) {
      // The proxy may hold the pod as pending; the rules go last.
      await proxies.remove(pod.uid);
      await capture.remove(pathOfFd(fd));
      if (wasLeft) {
        this.#save();
      }
      throw error;
    }
    this.#pods.set(pod.uid, { pod, fd, inode, epoch });
    this.#save();
    log.info({ uid: pod.uid, pod: `${pod.namespace}/${pod.name}` }, 'enrolled');
  }

  async #drop(uid: string): Promise<void> {
    const enrolled = this.#pods.get(uid);
    if (enrolled === undefined) {
      await this.#dropLeft(uid);
      return;
    }
    const { capture, proxies, closeFd, log } = this.#parts;
    await proxies.remove(uid);
    await capture.remove(pathOfFd(enrolled.fd));
    this.#pods.delete(uid);
    closeFd(enrolled.fd);
    this.#save();
    log.info({ uid }, 'un-enrolled');
  }

  // Its rules are still there, so it is forgotten only when they or their namespace are gone.
  async #dropLeft(uid: string): Promise<void> {
    const left = this.#left.get(uid);
    if (left === undefined) {
      return;
    }
    const { capture, closeFd, openPath, log } = this.#parts;
    if (!isGone(left.pod.netns)) {
      const fd = openPath(left.pod.netns);
      try {
        await capture.remove(pathOfFd(fd));
      } finally {
        closeFd(fd);
      }
    }
    this.#forgetLeft(uid);
    this.#save();
    log.info({ uid }, 'un-enrolled');
  }
}
