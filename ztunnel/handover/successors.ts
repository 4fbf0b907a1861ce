// SPDX-License-Identifier: Apache-2.0
// The end of the proxy that carries the node: gives its sockets to one that takes its place, lets
// go when that one asks, and takes back what that one could not take.
import type { PacketHandlers, Packets } from '../../native/index.ts';
import { MeshError } from '../../src/lib/error.ts';
import type { Logger } from '../../src/lib/log.ts';
import { version } from '../../src/lib/version.ts';
import { type Answer, decodeQuestion, encode, handoverVersion, type Question } from './messages.ts';
import type { PodSockets } from './sockets.ts';

/** What giving a node away needs from outside. */
export interface SuccessorsParts {
  listen(path: string, onConnection: (socket: Packets) => PacketHandlers): { close(): void };
  /** Duplicates of a pod's sockets, to be closed here. */
  sockets(uid: string): Promise<PodSockets>;
  /** Lets go of all that there can be only one of; resolves when it is free. */
  release(): Promise<void>;
  /** The successor has all of that. Nothing else is called behind this. */
  replaced(): void;
  /** It went before it had: what was released is to be taken back. This listens no more. */
  takeBack(): void;
  closeFd(fd: number): void;
  readonly log: Logger;
}

/** Serves one successor at a time. Main thread only. */
export class Successors {
  readonly #parts: SuccessorsParts;
  readonly #listener: { close(): void };
  #current: Packets | undefined;
  #greeted = false;
  #state: 'has' | 'released' | 'replaced' | 'over' = 'has';
  #tail: Promise<void> = Promise.resolve();

  /** Listens at `path` (mode 0600). Throws MeshError when somebody does already. */
  constructor(path: string, parts: SuccessorsParts) {
    this.#parts = parts;
    this.#listener = parts.listen(path, (packets) => this.#accept(packets));
  }

  /** Tells the successor that all has ended, and how many connections had to be cut. */
  drained(cut: number): void {
    this.#answer({ kind: 'drained', cut });
  }

  /** Whether there is a successor. */
  get busy(): boolean {
    return this.#current !== undefined;
  }

  /** Ends all. */
  close(): void {
    this.#state = 'over';
    this.#listener.close();
    this.#current?.close();
    this.#current = undefined;
  }

  #accept(packets: Packets): PacketHandlers {
    const { log, closeFd } = this.#parts;
    if (this.#current !== undefined) {
      const reason = `process ${this.#current.pid} takes over already`;
      // When it has spoken: an end with words unread would take the answer with it.
      const refuse = (_: Uint8Array, fds: readonly number[]): void => {
        fds.forEach(closeFd);
        this.#send(packets, { kind: 'refused', reason });
        packets.close();
      };
      return { onMessage: refuse, onClose: () => undefined };
    }
    this.#current = packets;
    this.#greeted = false;
    return {
      onMessage: (data, fds) => {
        fds.forEach(closeFd);
        this.#tail = this.#tail.then(() => this.#carryOut(packets, data));
      },
      onClose: (reason) => {
        if (this.#current === packets) {
          log.info({ successorPid: packets.pid, reason }, 'a successor disconnected');
          this.#forget();
        }
      },
    };
  }

  async #carryOut(packets: Packets, data: Uint8Array): Promise<void> {
    if (this.#current !== packets) {
      return;
    }
    try {
      await this.#respond(packets, decodeQuestion(data));
    } catch (error) {
      const { message } = MeshError.from(error);
      this.#parts.log.warn({ successorPid: packets.pid, reason: message }, 'a hand-over failed');
      packets.close();
      this.#forget();
    }
  }

  // Behind the release, where that is under way.
  #forget(): void {
    this.#current = undefined;
    this.#tail = this.#tail.then(() => {
      if (this.#state === 'released') {
        this.#state = 'over';
        this.#parts.takeBack();
      }
    });
  }

  async #respond(packets: Packets, question: Question): Promise<void> {
    if (question.kind === 'hello') {
      this.#greet(packets, question.version);
      return;
    }
    if (this.#greeted && question.kind === 'sockets') {
      await this.#give(question.uid);
    } else if (this.#greeted && question.kind === 'take' && this.#state === 'has') {
      await this.#release(packets);
    } else if (question.kind === 'took' && this.#state === 'released') {
      this.#state = 'replaced';
      this.#parts.replaced();
    } else {
      throw new MeshError('invalid', `${question.kind} is not asked now`);
    }
  }

  async #release(packets: Packets): Promise<void> {
    packets.send(encode({ kind: 'releasing' }));
    this.#state = 'released';
    this.#listener.close();
    this.#parts.log.info({ successorPid: packets.pid }, 'handing this node over');
    await this.#parts.release();
    this.#answer({ kind: 'released' });
  }

  #greet(packets: Packets, asked: number): void {
    if (asked !== handoverVersion) {
      const reason = `it hands over by version ${handoverVersion}, not ${asked}: stop it first`;
      this.#answer({ kind: 'refused', reason });
      return;
    }
    this.#greeted = true;
    this.#parts.log.info({ successorPid: packets.pid }, 'a successor connected');
    this.#answer({ kind: 'welcome', build: version });
  }

  async #give(uid: string): Promise<void> {
    const sockets = await this.#parts.sockets(uid);
    try {
      for (const [name, fd] of sockets) {
        this.#current?.send(encode({ kind: 'socket', name }), fd);
      }
      this.#answer({ kind: 'no more sockets' });
    } finally {
      for (const fd of sockets.values()) {
        this.#parts.closeFd(fd);
      }
    }
  }

  #answer(answer: Answer): void {
    if (this.#current !== undefined) {
      this.#send(this.#current, answer);
    }
  }

  // To one that is gone nothing is told: its connection's end comes by itself.
  #send(packets: Packets, answer: Answer): void {
    try {
      packets.send(encode(answer));
    } catch (error) {
      const { message } = MeshError.from(error);
      this.#parts.log.debug({ successorPid: packets.pid, reason: message }, 'not heard');
    }
  }
}
