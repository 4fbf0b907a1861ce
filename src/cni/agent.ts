// SPDX-License-Identifier: Apache-2.0
// The pods of this node that are in the mesh: captured, and handed to the node proxy.
import { fstatSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { MeshError } from '../lib/error.ts';
import type { Logger } from '../lib/log.ts';
import type { MeshConfig } from '../lib/pod-settings.ts';
import type { Capture } from './capture.ts';
import { type Known, type Left, listed, reportOf, sameCapture } from './known.ts';
import { checkNamespace, isGone, pathOfFd, whyNotOpened } from './netns.ts';
import { type ListedPod, type PodEnrolment, podsMax, sameClaim } from './pod.ts';
import type { MarkSettings } from './pod-routes.ts';
import { Retries } from './retries.ts';
import { type NodeSettings, type SettingsReport, sameWants, wantsOf } from './settings.ts';
import { Turns } from './turns.ts';
import type { ZdsPod } from './zds-server.ts';

/** What the agent works with. */
export interface AgentParts {
  readonly capture: Capture;
  /** Hands pods over to the node proxy. */
  readonly proxies: { add(pod: ZdsPod): Promise<void>; remove(uid: string): Promise<void> };
  /** Opens a namespace file; throws MeshError. */
  readonly openPath: (path: string) => number;
  readonly closeFd: (fd: number) => void;
  /** Keeps the list over a restart of the agent. */
  readonly save: (pods: readonly ListedPod[]) => void;
  /** What an earlier run last heard of the mesh's settings. */
  readonly mesh: MeshConfig;
  /** Keeps them over a restart. */
  readonly saveMesh: (mesh: MeshConfig) => void;
  readonly log: Logger;
}

/**
 * Enrols and un-enrols pods; what is asked for one pod is done in order, different pods go side by
 * side. A pod is captured before the proxy hears of it and until the proxy let go of it, so its
 * traffic is refused rather than sent in plaintext (fail-closed). It is on the saved list before its
 * first rule goes in and until its last one is gone, so that an agent that is killed anywhere between
 * leaves nothing behind that the next one does not finish. Main thread only.
 */
export class Agent {
  readonly #parts: AgentParts;
  readonly #pods = new Map<string, Known>();
  readonly #left = new Map<string, Left>();
  readonly #retries = new Retries();
  readonly #turns = new Turns();
  #mesh: MeshConfig;

  constructor(parts: AgentParts) {
    this.#parts = parts;
    this.#mesh = parts.mesh;
  }

  /** The enrolled pods, by uid. */
  list(): PodEnrolment[] {
    return this.#enrolled().map(({ pod }) => pod);
  }

  /** What counts for the enrolled pods on a node that is such. */
  settings(node: NodeSettings): SettingsReport {
    return reportOf(this.#enrolled(), this.#mesh, node);
  }

  /**
   * Takes what counts for the whole mesh from now on. How pods of the node are connected changes at
   * once, in each pod's turn; how they are captured when they are enrolled next. Resolves when it is
   * done; what fails for a pod is logged and tried again.
   */
  async setMesh(mesh: MeshConfig): Promise<void> {
    const { saveMesh, log } = this.#parts;
    const { capture, sameNode } = this.#mesh;
    if (mesh.capture === capture && mesh.sameNode === sameNode) {
      return;
    }
    this.#mesh = mesh;
    log.info({ mesh }, 'settings of the mesh');
    try {
      saveMesh(mesh);
    } catch (error) {
      const { message: reason } = MeshError.from(error);
      log.error({ reason }, "the mesh's settings are not kept over a restart");
    }
    await Promise.all([...this.#pods.keys()].map((uid) => this.#adaptInTurn(uid)));
  }

  /** The enrolled pods for a proxy that connects; renews rules that depend on its cgroup. */
  async snapshot(): Promise<ZdsPod[]> {
    const epoch = this.#parts.capture.epoch();
    for (const { pod, epoch: before } of this.#enrolled()) {
      if (before !== epoch) {
        await this.#turns.take(pod.uid, () => this.#renew(pod.uid));
      }
    }
    return this.#enrolled().map(({ pod, fd }) => ({ ...pod, netns: fd }));
  }

  /**
   * Captures a pod and hands it to the proxy. A pod that is enrolled just so is left alone; one
   * with another namespace or account is replaced. When this rejects the pod is not captured, or on
   * the list as one to release, which is tried until it is done. Rejects with `invalid` when `netns`
   * is no network namespace and `conflict` when nothing is there or another pod has it.
   */
  enrol(pod: PodEnrolment): Promise<void> {
    return this.#turns.take(pod.uid, () => this.#enrol(pod));
  }

  /**
   * Takes a pod out of the mesh; an unknown uid and a namespace that is gone are no errors. With
   * `netns`, a pod that is not known loses whatever rules of ours that namespace has; rejects with
   * `conflict`, changing nothing, when it is another pod's.
   */
  unenrol(uid: string, netns?: string): Promise<void> {
    return this.#turns.take(uid, async () => {
      if (this.#pods.has(uid)) {
        await this.#drop(uid);
      } else if (this.#left.has(uid)) {
        await this.#dropLeft(uid);
      } else if (netns !== undefined && !isGone(netns)) {
        await this.#release(uid, netns);
      }
    });
  }

  /**
   * Takes pods over from an earlier run of the agent. They are captured again and stay so, also
   * those whose enrolment was cut short; the proxy gets them when it connects. Those whose release
   * was cut short are released. A pod whose namespace is gone is forgotten; one that fails otherwise
   * is kept, captured as it was, and tried again with backoff. What the node holds for pods that are
   * not on the list goes.
   */
  async restore(pods: readonly ListedPod[]): Promise<void> {
    for (const { releasing = false, meshCapture, former, ...pod } of pods) {
      this.#left.set(pod.uid, { pod, meshCapture, former, releasing });
    }
    // Releases last: by then it is known whether another pod has the namespace now.
    for (const last of [false, true]) {
      for (const { uid, releasing = false } of pods) {
        if (releasing === last) {
          await this.#turns.take(uid, () => this.#takeOver(uid));
        }
      }
    }
    this.#save();
    await this.#retain();
  }

  async #retain(): Promise<void> {
    const { capture, log } = this.#parts;
    try {
      await capture.retain([...this.#left.values()].map(({ pod }) => pod.netns));
    } catch (error) {
      const { message: reason } = MeshError.from(error);
      log.error({ reason }, 'what stands for pods that are gone is not taken away');
    }
  }

  #enrolled(): Known[] {
    return [...this.#pods.values()].filter(({ phase }) => phase === 'enrolled');
  }

  async #takeOver(uid: string): Promise<void> {
    const left = this.#left.get(uid);
    if (left === undefined) {
      return;
    }
    const { pod, releasing } = left;
    try {
      await (releasing ? this.#releaseLeft(left) : this.#capture(left));
      this.#forgetLeft(uid);
    } catch (thrown) {
      const error = MeshError.from(thrown);
      if (error.code === 'invalid' || isGone(pod.netns)) {
        this.#forgetLeft(uid);
        this.#parts.log.warn({ uid, reason: error.message }, 'a pod was not taken over');
        return;
      }
      this.#retryLater(uid, error, 'a pod is not taken over yet');
    }
  }

  async #capture({ pod, meshCapture, former }: Left): Promise<void> {
    const { capture, closeFd, openPath } = this.#parts;
    const fd = openPath(pod.netns);
    try {
      checkNamespace(fd, pod.netns);
      await capture.check(pathOfFd(fd));
      const inode = this.#check(pod, fd);
      const epoch = capture.epoch();
      const wants = wantsOf(pod, this.#mesh, meshCapture);
      await capture.install(pathOfFd(fd), wants);
      this.#pods.set(pod.uid, {
        ...{ pod, fd, inode, meshCapture, former, wants, epoch },
        phase: 'enrolled',
      });
      // The mesh may have changed meanwhile.
      void this.#adaptInTurn(pod.uid);
    } catch (error) {
      closeFd(fd);
      throw error;
    }
  }

  // It need not keep the process: the pod is on the list for the next run too.
  #retryLater(uid: string, error: MeshError, what: string): void {
    const { log } = this.#parts;
    const waitMs = this.#retries.later(uid, () => {
      this.#turns
        .take(uid, () => this.#retry(uid))
        .catch((thrown: unknown) => {
          log.error({ uid, reason: MeshError.from(thrown).message }, 'a retry failed');
        });
    });
    log.error({ uid, reason: error.message, waitMs }, what);
  }

  async #retry(uid: string): Promise<void> {
    if (this.#pods.get(uid)?.phase === 'releasing') {
      // It says itself what failed, and when it is tried next.
      await this.#drop(uid).catch(() => undefined);
      return;
    }
    if (this.#pods.has(uid)) {
      await this.#adapt(uid);
      return;
    }
    const tried = this.#left.has(uid);
    await this.#takeOver(uid);
    if (tried && !this.#left.has(uid)) {
      this.#save();
      await this.#tellProxy(uid);
    }
  }

  // By now a proxy may be connected, which has to be told of the pod by itself.
  async #tellProxy(uid: string): Promise<void> {
    const { proxies, log } = this.#parts;
    const enrolled = this.#pods.get(uid);
    if (enrolled === undefined) {
      return;
    }
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
    const known = this.#pods.get(uid);
    const epoch = capture.epoch();
    if (known?.phase !== 'enrolled' || known.epoch === epoch) {
      return;
    }
    await capture.install(pathOfFd(known.fd), known.wants);
    known.epoch = epoch;
    log.info({ uid }, 'capture renewed for a new proxy');
  }

  #adaptInTurn(uid: string): Promise<void> {
    return this.#turns.take(uid, () => this.#adapt(uid));
  }

  // Makes the settings of an enrolled pod those that count now. The proxy looks at it again: direct
  // connections that it may not have any more end.
  async #adapt(uid: string): Promise<void> {
    const { capture, proxies, log } = this.#parts;
    const known = this.#pods.get(uid);
    if (known?.phase !== 'enrolled') {
      return;
    }
    const { pod, fd, meshCapture } = known;
    const wants = wantsOf(pod, this.#mesh, meshCapture);
    if (sameWants(wants, known.wants)) {
      return;
    }
    try {
      await capture.install(pathOfFd(fd), wants);
    } catch (error) {
      this.#retryLater(uid, MeshError.from(error), "a pod's settings are not in force yet");
      return;
    }
    this.#retries.stop(uid);
    known.wants = wants;
    log.info({ uid, sameNode: wants.sameNode }, "a pod's settings changed");
    try {
      await proxies.add({ ...pod, netns: fd });
    } catch (error) {
      // The next one that connects looks at all pods.
      log.warn({ uid, reason: MeshError.from(error).message }, 'no proxy looked at the pod');
    }
  }

  #forgetLeft(uid: string): boolean {
    this.#retries.stop(uid);
    return this.#left.delete(uid);
  }

  #save(): void {
    const known = [...this.#pods.values()].map(({ pod, meshCapture, former, phase }) => ({
      ...{ pod, meshCapture, former },
      releasing: phase === 'releasing',
    }));
    this.#parts.save([...known, ...this.#left.values()].map(listed));
  }

  #checkOwner(uid: string, inode: number): void {
    for (const other of this.#pods.values()) {
      if (other.inode === inode && other.pod.uid !== uid) {
        throw new MeshError('conflict', `pod ${other.pod.uid} has this network namespace`);
      }
    }
  }

  #check(pod: PodEnrolment, fd: number): number {
    const inode = fstatSync(fd).ino;
    this.#checkOwner(pod.uid, inode);
    const known = this.#pods.has(pod.uid) || this.#left.has(pod.uid);
    if (!known && this.#pods.size + this.#left.size >= podsMax) {
      throw new MeshError('limit', `there are ${podsMax} pods already`);
    }
    return inode;
  }

  #open(path: string): number {
    try {
      return this.#parts.openPath(path);
    } catch (error) {
      throw whyNotOpened(path, error);
    }
  }

  async #enrol(pod: PodEnrolment): Promise<void> {
    const { capture, closeFd } = this.#parts;
    const fd = this.#open(pod.netns);
    let known: Known;
    try {
      checkNamespace(fd, pod.netns);
      await capture.check(pathOfFd(fd));
      const inode = this.#check(pod, fd);
      const before = this.#pods.get(pod.uid);
      const same = before?.inode === inode && sameClaim(before.pod, pod);
      if (same && before.phase === 'enrolled' && sameCapture(before, pod, this.#mesh)) {
        closeFd(fd);
        await this.#resettle(before, pod);
        return;
      }
      await this.#clearFor(pod, before !== undefined);
      this.#checkOwner(pod.uid, inode);
      const { capture: meshCapture } = this.#mesh;
      const wants = wantsOf(pod, this.#mesh, meshCapture);
      const epoch = capture.epoch();
      const former = this.#left.get(pod.uid)?.former ?? (await capture.before(pathOfFd(fd)));
      known = { pod, fd, inode, meshCapture, former, wants, epoch, phase: 'enrolling' };
      this.#note(known);
    } catch (error) {
      closeFd(fd);
      throw MeshError.from(error);
    }
    await this.#bringIn(known);
  }

  // A pod that stays what it is, and may want other settings.
  async #resettle(known: Known, pod: PodEnrolment): Promise<void> {
    const before = known.pod;
    known.pod = pod;
    try {
      if (!isDeepStrictEqual(before, pod)) {
        this.#save();
      }
    } catch (error) {
      known.pod = before;
      throw error;
    }
    await this.#adapt(pod.uid);
  }

  async #clearFor({ uid, netns }: PodEnrolment, known: boolean): Promise<void> {
    const left = this.#left.get(uid);
    if (known) {
      await this.#drop(uid);
    } else if (left !== undefined && left.pod.netns !== netns) {
      await this.#dropLeft(uid);
    }
  }

  // Puts the pod on the saved list. What the runtime says now takes the place of what an earlier run
  // knew, unless it cannot be saved.
  #note(known: Known): void {
    const { uid } = known.pod;
    const left = this.#left.get(uid);
    this.#left.delete(uid);
    this.#pods.set(uid, known);
    try {
      this.#save();
    } catch (error) {
      this.#pods.delete(uid);
      if (left !== undefined) {
        this.#left.set(uid, left);
      }
      throw error;
    }
    this.#retries.stop(uid);
  }

  async #bringIn(known: Known): Promise<void> {
    const { capture, proxies, log } = this.#parts;
    const { pod, fd } = known;
    try {
      await capture.install(pathOfFd(fd), known.wants);
      await proxies.add({ ...pod, netns: fd });
      const now = capture.epoch();
      if (now !== known.epoch) {
        // A proxy came meanwhile, and its snapshot had this pod without a renewal.
        await capture.install(pathOfFd(fd), known.wants);
        known.epoch = now;
      }
    } catch (error) {
      // The proxy may hold the pod as pending; the rules go last. What the caller has to know is
      // why it failed; whether it is undone already is on the list.
      await this.#drop(pod.uid).catch(() => undefined);
      throw MeshError.from(error);
    }
    known.phase = 'enrolled';
    log.info({ uid: pod.uid, pod: `${pod.namespace}/${pod.name}` }, 'enrolled');
  }

  // A pod whose rules cannot be taken away stays on the list, and is tried again.
  async #drop(uid: string): Promise<void> {
    const known = this.#pods.get(uid);
    if (known === undefined) {
      return;
    }
    const { capture, proxies, closeFd, log } = this.#parts;
    known.phase = 'releasing';
    try {
      this.#save();
      await proxies.remove(uid);
      await capture.remove(pathOfFd(known.fd), known.former);
    } catch (thrown) {
      const error = MeshError.from(thrown);
      this.#retryLater(uid, error, 'a pod is not released yet');
      throw error;
    }
    this.#retries.stop(uid);
    this.#pods.delete(uid);
    closeFd(known.fd);
    this.#save();
    log.info({ uid }, 'un-enrolled');
  }

  // Its rules may be there, so it is forgotten only when they or their namespace are gone.
  async #dropLeft(uid: string): Promise<void> {
    const left = this.#left.get(uid);
    if (left === undefined) {
      return;
    }
    left.releasing = true;
    this.#save();
    await this.#releaseLeft(left);
    this.#forgetLeft(uid);
    this.#save();
    this.#parts.log.info({ uid }, 'un-enrolled');
  }

  async #releaseLeft({ pod, former }: Left): Promise<void> {
    try {
      await this.#release(pod.uid, pod.netns, former);
    } catch (error) {
      const { code } = MeshError.from(error);
      // The namespace that it had is gone; what is at its path now is none of its.
      if (code !== 'invalid' && code !== 'conflict') {
        throw error;
      }
    }
  }

  // Takes away the rules of a pod that this run did not open, if the namespace is not another's now.
  async #release(uid: string, netns: string, former?: MarkSettings): Promise<void> {
    const { capture, proxies, closeFd } = this.#parts;
    const fd = this.#open(netns);
    try {
      checkNamespace(fd, netns);
      await capture.check(pathOfFd(fd));
      this.#checkOwner(uid, fstatSync(fd).ino);
      await proxies.remove(uid);
      await capture.remove(pathOfFd(fd), former);
    } finally {
      closeFd(fd);
    }
  }
}
