// SPDX-License-Identifier: Apache-2.0
// The sockmap tier of this node, for pods that ask for it: whether its kernel may have it, and whose
// connections are looked at for it.
import { closeSync, openSync } from 'node:fs';
import {
  type NodeCapture,
  type NodeCaptureOptions,
  type SockmapGate,
  SockmapTier,
  trySockmapGates,
} from '../../native/capture.ts';
import { MeshError } from '../lib/error.ts';
import type { Logger } from '../lib/log.ts';

/** How long a connection goes by TCP before it is looked at. */
export const promoteMs = 500;

/** What gates say, and the tier behind them. */
export interface SockmapParts {
  readonly gates: () => readonly SockmapGate[];
  readonly tier: () => Pick<SockmapTier, 'promote'>;
}

/** Says which gates fail, and why. */
export function refusalOf(gates: readonly SockmapGate[]): string {
  return gates.map(({ name, reason }) => `${name} (${reason})`).join('; ');
}

/** One node's. Gates are tried once, when it is first asked for: they take some hundred ms. */
export class Sockmap {
  readonly #parts: SockmapParts;
  readonly #log: Pick<Logger, 'warn' | 'error' | 'info'>;
  readonly #pods = new Set<string>();
  #failed: readonly SockmapGate[] | undefined;
  #tier: Pick<SockmapTier, 'promote'> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    options: NodeCaptureOptions,
    log: Pick<Logger, 'warn' | 'error' | 'info'>,
    parts: SockmapParts = { gates: trySockmapGates, tier: () => new SockmapTier(options) },
  ) {
    this.#log = log;
    this.#parts = parts;
  }

  /** Throws MeshError `unsupported` with the gates that fail. */
  check(): void {
    this.#failed ??= this.#parts.gates().filter(({ ok }) => !ok);
    if (this.#failed.length > 0) {
      throw new MeshError('unsupported', `no sockmap tier here: ${refusalOf(this.#failed)}`);
    }
  }

  /**
   * Whether a pod that asks for the tier gets it. If not, that is logged as an error and noted for the
   * proxy's status, and the pod's direct connections go by TCP. `node` is the capture that pods of
   * this tier have.
   */
  admits(netnsPath: string, node: Pick<NodeCapture, 'refuseSockmap'>): boolean {
    try {
      this.check();
      this.#tier ??= this.#parts.tier();
      return true;
    } catch (thrown) {
      const { message: reason } = MeshError.from(thrown);
      this.#log.error({ netns: netnsPath, reason }, 'a pod asks for the sockmap tier in vain');
      node.refuseSockmap(this.#failed ?? []);
      return false;
    }
  }

  /** The pod with this namespace was enrolled with the tier: its connections are looked at. */
  add(netnsPath: string): void {
    this.#pods.add(netnsPath);
    this.#timer ??= setInterval(() => this.promote(), promoteMs).unref();
  }

  /** And no longer. What is in the tier stays there. */
  remove(netnsPath: string): void {
    this.#pods.delete(netnsPath);
    if (this.#pods.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }

  /** Looks at the connections of all of them now. */
  promote(): void {
    for (const path of this.#pods) {
      try {
        const fd = openSync(path, 'r');
        try {
          this.#tier?.promote(fd);
        } finally {
          closeSync(fd);
        }
      } catch (thrown) {
        const { message: reason } = MeshError.from(thrown);
        this.#log.warn({ netns: path, reason }, "a pod's connections stay with TCP");
        this.remove(path);
      }
    }
  }
}
