// SPDX-License-Identifier: Apache-2.0
// The pods of this node that are in the mesh: captured, and handed to the node proxy.
import { fstatSync, statfsSync } from 'node:fs';
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

const nsfsMagic = 0x6e736673;

interface Enrolled {
  readonly pod: PodEnrolment;
  readonly fd: number;
  readonly inode: number;
  /** The capture's epoch when its rules were installed. */
  epoch: string;
}

// By descriptor, so that a path that changes meanwhile cannot send the rules somewhere else.
const pathOfFd = (fd: number): string => `/proc/${process.pid}/fd/${fd}`;

function sameClaim(a: PodEnrolment, b: PodEnrolment): boolean {
  return a.name === b.name && a.namespace === b.namespace && a.serviceAccount === b.serviceAccount;
}

/**
 * Enrols and un-enrols pods; what is asked for one pod is done in order, different pods go side by
 * side. A pod is captured before the proxy hears of it and until the proxy let go of it, so its
 * traffic is refused rather than sent in plaintext (fail-closed). Main thread only.
 */
export class Agent {
  readonly #parts: AgentParts;
  readonly #pods = new Map<string, Enrolled>();
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
    const { capture, log } = this.#parts;
    const epoch = capture.epoch();
    for (const enrolled of this.#pods.values()) {
      if (enrolled.epoch !== epoch) {
        await capture.install(pathOfFd(enrolled.fd));
        enrolled.epoch = epoch;
        log.info({ uid: enrolled.pod.uid }, 'capture renewed for a new proxy');
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
   * proxy gets them when it connects. A pod whose namespace is gone is forgotten.
   */
  async restore(pods: readonly PodEnrolment[]): Promise<void> {
    for (const pod of pods) {
      try {
        const fd = this.#parts.openPath(pod.netns);
        const inode = this.#check(pod, fd);
        const epoch = this.#parts.capture.epoch();
        await this.#parts.capture.install(pathOfFd(fd));
        this.#pods.set(pod.uid, { pod, fd, inode, epoch });
      } catch (error) {
        const reason = MeshError.from(error).message;
        this.#parts.log.warn({ uid: pod.uid, reason }, 'a pod was not taken over');
      }
    }
    this.#parts.save(this.list());
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
    if (!this.#pods.has(pod.uid) && this.#pods.size >= podsMax) {
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
    const { capture, proxies, log } = this.#parts;
    const epoch = capture.epoch();
    try {
      await capture.install(pathOfFd(fd));
      await proxies.add({ ...pod, netns: fd });
    } catch (error) {
      // The proxy may hold the pod as pending; the rules go last.
      await proxies.remove(pod.uid);
      await capture.remove(pathOfFd(fd));
      throw error;
    }
    this.#pods.set(pod.uid, { pod, fd, inode, epoch });
    this.#parts.save(this.list());
    log.info({ uid: pod.uid, pod: `${pod.namespace}/${pod.name}` }, 'enrolled');
  }

  async #drop(uid: string): Promise<void> {
    const enrolled = this.#pods.get(uid);
    if (enrolled === undefined) {
      return;
    }
    const { capture, proxies, closeFd, log } = this.#parts;
    await proxies.remove(uid);
    await capture.remove(pathOfFd(enrolled.fd));
    this.#pods.delete(uid);
    closeFd(enrolled.fd);
    this.#parts.save(this.list());
    log.info({ uid }, 'un-enrolled');
  }
}
