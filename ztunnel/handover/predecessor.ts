// SPDX-License-Identifier: Apache-2.0
// The successor's end: the proxy that carries this node so far, its sockets, and its end.
import type { PacketHandlers, Packets } from '../../native/index.ts';
import { MeshError } from '../../src/lib/error.ts';
import type { Logger } from '../../src/lib/log.ts';
import { type Answer, decodeAnswer, encode, handoverVersion, type Question } from './messages.ts';
import type { PodSockets } from './sockets.ts';

/** How long the other proxy may take for an answer, in milliseconds. */
export const answerTimeoutMs = 5_000;
/** How long it may take to let go of the node: it ends listeners and servers. */
export const releaseTimeoutMs = 15_000;
/** Most sockets of one pod. */
export const socketsMax = 16;

/** What a hand-over needs from outside. */
export interface PredecessorParts {
  /** Throws MeshError `unavailable` when nobody listens. */
  connect(path: string, handlers: PacketHandlers): Packets;
  closeFd(fd: number): void;
  readonly log: Logger;
}

interface Pending {
  readonly sockets: Map<string, number>;
  readonly settle: PromiseWithResolvers<Answer | undefined>;
  readonly timer: NodeJS.Timeout;
}

/** How a predecessor ended: how many connections it had to cut; undefined when it did not say. */
export type PredecessorEnd = number | undefined;

/** The proxy that this one takes the place of. One question at a time. Main thread only. */
export class Predecessor {
  readonly #path: string;
  readonly #parts: PredecessorParts;
  readonly #lostIt = Promise.withResolvers<void>();
  readonly #end = Promise.withResolvers<PredecessorEnd>();
  #packets: Packets | undefined;
  #pending: Pending | undefined;
  #tail: Promise<unknown> = Promise.resolve();
  #gone = false;

  private constructor(path: string, parts: PredecessorParts) {
    this.#path = path;
    this.#parts = parts;
  }

  /**
   * The proxy that listens at `path`; undefined when there is none. Rejects with MeshError:
   * `denied` when that is not root's, `conflict` with its reason when it refuses, `timeout` when
   * it is silent.
   */
  static async find(path: string, parts: PredecessorParts): Promise<Predecessor | undefined> {
    const found = new Predecessor(path, parts);
    try {
      found.#packets = parts.connect(path, {
        onMessage: (data, fds) => found.#receive(data, fds),
        onClose: () => found.#lost(),
      });
    } catch (error) {
      if (MeshError.from(error).code === 'unavailable') {
        return undefined;
      }
      throw MeshError.from(error);
    }
    const { uid, pid } = found.#packets;
    if (uid !== 0 && uid !== process.getuid?.()) {
      found.close();
      throw new MeshError('denied', `${path} is served by user ${uid}`);
    }
    const welcome = await found.#ask({ kind: 'hello', version: handoverVersion }, answerTimeoutMs);
    if (welcome === undefined) {
      return undefined;
    }
    if (welcome.kind !== 'welcome') {
      found.close();
      const reason = welcome.kind === 'refused' ? welcome.reason : `it says ${welcome.kind}`;
      throw new MeshError('conflict', `process ${pid} carries this node: ${reason}`);
    }
    parts.log.info({ predecessorPid: pid, build: welcome.build }, 'taking over from a node proxy');
    return found;
  }

  /** When it ended, whatever the reason. */
  get ended(): Promise<PredecessorEnd> {
    return this.#end.promise;
  }

  /** Whether the connection to it has ended. */
  get isGone(): boolean {
    return this.#gone;
  }

  /** When the connection to it ended, whoever ended it. */
  get lost(): Promise<void> {
    return this.#lostIt.promise;
  }

  /**
   * The sockets that it has of one pod, which are the caller's; none when it is gone. Rejects with
   * MeshError `timeout`.
   */
  async sockets(uid: string): Promise<PodSockets> {
    const sockets = new Map<string, number>();
    let isWhole = false;
    try {
      const last = await this.#ask({ kind: 'sockets', uid }, answerTimeoutMs, sockets);
      isWhole = last?.kind === 'no more sockets';
    } finally {
      if (!isWhole) {
        this.#closeAll(sockets.values());
        sockets.clear();
      }
    }
    return sockets;
  }

  /**
   * Resolves when it has let go of the node, or is gone. Rejects with MeshError: `timeout`, and
   * `conflict` when only the connection to it is gone.
   */
  async take(): Promise<void> {
    const answer = await this.#ask({ kind: 'take' }, releaseTimeoutMs);
    if (answer === undefined && this.#isServed()) {
      throw new MeshError('conflict', 'the node proxy before this one goes on');
    }
  }

  /** Tells it that it is replaced. */
  took(): void {
    this.#send({ kind: 'took' });
  }

  /** Ends the connection; a predecessor that has not let go goes on as before. */
  close(): void {
    this.#packets?.close();
    this.#lost();
  }

  #isServed(): boolean {
    try {
      this.#parts
        .connect(this.#path, { onMessage: this.#refuse, onClose: () => undefined })
        .close();
      return true;
    } catch {
      return false;
    }
  }

  readonly #refuse = (_: Uint8Array, fds: readonly number[]): void => this.#closeAll(fds);

  #ask(
    question: Question,
    timeoutMs: number,
    sockets: Map<string, number> = new Map(),
  ): Promise<Answer | undefined> {
    const asked = this.#tail.then(() => {
      if (this.#gone || this.#packets === undefined) {
        return undefined;
      }
      const settle = Promise.withResolvers<Answer | undefined>();
      const late = (): void => {
        settle.reject(new MeshError('timeout', 'the node proxy before this one does not answer'));
        this.close();
      };
      const timer = setTimeout(late, timeoutMs);
      this.#pending = { sockets, settle, timer };
      this.#send(question);
      return settle.promise;
    });
    this.#tail = asked.catch(() => undefined);
    return asked;
  }

  // One that cannot be told is gone.
  #send(question: Question): void {
    try {
      this.#packets?.send(encode(question));
    } catch {
      this.close();
    }
  }

  #receive(data: Uint8Array, fds: readonly number[]): void {
    try {
      const answer = decodeAnswer(data);
      if (answer.kind === 'socket') {
        this.#keep(answer.name, fds);
        return;
      }
      this.#closeAll(fds);
      if (answer.kind === 'releasing') {
        return;
      }
      if (answer.kind === 'drained') {
        this.#end.resolve(answer.cut);
        return;
      }
      this.#settle(answer);
    } catch (error) {
      const { message } = MeshError.from(error);
      this.#parts.log.warn({ reason: message }, 'the node proxy before this one is not understood');
      this.close();
    }
  }

  #keep(name: string, fds: readonly number[]): void {
    const [fd] = fds;
    const sockets = this.#pending?.sockets;
    if (fd === undefined || fds.length > 1 || sockets === undefined || sockets.has(name)) {
      this.#closeAll(fds);
      throw new MeshError('invalid', 'a socket that nobody asked for');
    }
    sockets.set(name, fd);
    if (sockets.size > socketsMax) {
      throw new MeshError('limit', `over ${socketsMax} sockets of one pod`);
    }
  }

  #settle(answer: Answer | undefined): void {
    const pending = this.#pending;
    this.#pending = undefined;
    clearTimeout(pending?.timer);
    pending?.settle.resolve(answer);
  }

  #lost(): void {
    this.#gone = true;
    this.#settle(undefined);
    this.#lostIt.resolve();
    this.#end.resolve(undefined);
  }

  #closeAll(fds: Iterable<number>): void {
    for (const fd of fds) {
      this.#parts.closeFd(fd);
    }
  }
}
