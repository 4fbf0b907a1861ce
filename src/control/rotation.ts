// SPDX-License-Identifier: Apache-2.0
// Takes one root's place by another: decides when each step may be taken, so that at no moment a
// good certificate meets somebody who does not know its root.
import type { Authority } from '../ca/authority.ts';
import type { LeafLedger } from '../ca/leaf-ledger.ts';
import type { RotationPhase } from '../ca/trust-record.ts';
import { MeshError } from '../lib/error.ts';
import type { Logger } from '../lib/log.ts';
import { nodeOf, parseSpiffeId, workloadOf } from '../spiffe/id.ts';
import type { Acknowledgement } from '../xds/server.ts';

/** What can be asked of a rotation. */
export type RotationVerb = 'rotate' | 'prepare' | 'activate' | 'finish';

/** How far it is. */
export interface RotationStatus {
  readonly phase: RotationPhase;
  readonly epoch: number;
  readonly since: string;
  /** Whether it goes on by itself. */
  readonly walks: boolean;
  /** What the next step waits for, a sentence each; empty when nothing stands in its way. */
  readonly waitsFor: readonly string[];
}

/** What it is made of. */
export interface RotationParts {
  readonly authority: Authority;
  readonly ledger: LeafLedger;
  /** Which nodes took the bundle as it is now, by their SPIFFE IDs. */
  readonly acknowledged: () => Acknowledgement;
  /** Whether the registry places a workload of this service account on this node. */
  readonly places: (node: string, namespace: string, serviceAccount: string) => boolean;
  /** The bundle, or what signs, has changed. */
  readonly onChange: () => Promise<void>;
  readonly log: Logger;
  readonly now: () => Date;
}

/**
 * A node that is away is waited for this long. One that stays away longer learns the new root when
 * it is back, before its next renewal.
 */
export const absentMsMax = 300_000;

/** For so long nothing must have stood in the way: what was answered has to be in force, too. */
export const settleMs = 2_000;

/** How often a rotation that goes on by itself looks. */
export const tickMs = 1_000;

/** After this a node that asks for no bundle has all of its certificates, and the bundle, anew. */
const renewalMs = 24 * 3_600_000;

/** Most waits that are told one by one. */
const waitsMax = 20;

function shortened(waits: readonly string[]): string[] {
  const more = waits.length - waitsMax;
  return more <= 0 ? [...waits] : [...waits.slice(0, waitsMax), `and ${more} more`];
}

/** One rotation after another. Main thread only. */
export class Rotation {
  readonly #parts: RotationParts;
  readonly #startedMs: number;
  /** When a node's stream was last seen, in this process. */
  readonly #seenMs: Map<string, number> = new Map();
  #acked: Set<string> = new Set();
  #ackedEpoch = 0;
  #clearSinceMs: number | undefined;
  #clearEpoch = 0;
  #timer: NodeJS.Timeout | undefined;
  #tail: Promise<unknown> = Promise.resolve();

  constructor(parts: RotationParts) {
    this.#parts = parts;
    this.#startedMs = parts.now().getTime();
  }

  /** Starts looking after a rotation that goes on by itself. */
  start(): void {
    this.#timer = setInterval(() => this.tick(), tickMs);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** How far the rotation is and what it waits for. */
  status(): RotationStatus {
    const { phase, epoch, since, walks } = this.#parts.authority;
    const waitsFor = shortened(this.#waits());
    return { phase, epoch, since: since.toISOString(), walks, waitsFor };
  }

  /** Takes the next step of a rotation that goes on by itself, if it may. Resolves when it did. */
  async tick(): Promise<void> {
    const { authority, log } = this.#parts;
    this.#look();
    if (!authority.walks || !this.#settled()) {
      return;
    }
    const verb = authority.phase === 'prepared' ? 'activate' : 'finish';
    await this.command(verb, false).catch((error: unknown) => {
      log.error({ verb, reason: MeshError.from(error).message }, 'rotation step failed');
    });
  }

  /**
   * Takes one step; `rotate` takes the first and lets the others follow by themselves. `force`
   * does not wait, at the price of connections that fail. Rejects with `conflict` when the step is
   * not the next one, or what it waits for is still to come.
   */
  command(verb: RotationVerb, force: boolean): Promise<RotationStatus> {
    const done = this.#tail.then(() => this.#step(verb, force));
    this.#tail = done.catch(() => undefined);
    return done;
  }

  async #step(verb: RotationVerb, force: boolean): Promise<RotationStatus> {
    const { authority, log, now, onChange } = this.#parts;
    if (verb === 'rotate' && authority.phase !== 'steady') {
      await authority.setWalk(true);
      return this.status();
    }
    if (verb === 'rotate' || verb === 'prepare') {
      await authority.prepare(now(), verb === 'rotate');
    } else {
      this.#mayGoOn(verb, force);
      await (verb === 'activate' ? authority.activate(now()) : authority.finish(now()));
    }
    const { phase, epoch } = authority;
    log.info({ verb, phase, epoch, force }, 'root rotation');
    await onChange();
    return this.status();
  }

  #mayGoOn(verb: 'activate' | 'finish', force: boolean): void {
    const waits = this.#waits();
    const { phase } = this.#parts.authority;
    const isNext = phase === (verb === 'activate' ? 'prepared' : 'activated');
    if (isNext && !force && waits.length > 0) {
      throw new MeshError('conflict', `${verb} waits for ${shortened(waits).join('; ')}`);
    }
  }

  // Remembers who took the bundle of this epoch: a node keeps it even when it then goes away.
  #look(): void {
    const { acknowledged, authority, now } = this.#parts;
    if (this.#ackedEpoch !== authority.epoch) {
      this.#ackedEpoch = authority.epoch;
      this.#acked = new Set();
    }
    const { acked, others, waiting } = acknowledged();
    for (const id of [...acked, ...others, ...waiting]) {
      this.#seenMs.set(id, now().getTime());
    }
    for (const id of acked) {
      this.#acked.add(id);
    }
  }

  #settled(): boolean {
    const { authority, now } = this.#parts;
    if (this.#waits().length > 0) {
      this.#clearSinceMs = undefined;
      return false;
    }
    if (this.#clearSinceMs === undefined || this.#clearEpoch !== authority.epoch) {
      this.#clearSinceMs = now().getTime();
      this.#clearEpoch = authority.epoch;
    }
    return now().getTime() - this.#clearSinceMs >= settleMs;
  }

  #waits(): string[] {
    const { phase } = this.#parts.authority;
    if (phase === 'prepared') {
      return this.#waitsForNodes();
    }
    return phase === 'activated' ? this.#waitsForLeaves() : [];
  }

  #waitsForNodes(): string[] {
    this.#look();
    const { acknowledged, authority, ledger, now } = this.#parts;
    const { waiting, others } = acknowledged();
    const members = ledger
      .holders(authority.signing, now())
      .map(({ spiffeId }) => spiffeId)
      .filter((text) => this.#isNode(text));
    const inPhaseMs = now().getTime() - authority.since.getTime();
    const silent = new Set(inPhaseMs >= renewalMs ? others : []);
    const all = new Set([...members, ...waiting, ...others]);
    return [...all]
      .filter((id) => !this.#acked.has(id) && !silent.has(id) && !this.#isGone(id))
      .map((id) => `${id} to take the new root`);
  }

  #isNode(text: string): boolean {
    const id = parseSpiffeId(text);
    return id.ok && nodeOf(id.value) !== undefined;
  }

  #isGone(id: string): boolean {
    const { authority, now } = this.#parts;
    const seen = this.#seenMs.get(id) ?? 0;
    const from = Math.max(seen, this.#startedMs, authority.since.getTime());
    return now().getTime() - from > absentMsMax;
  }

  #waitsForLeaves(): string[] {
    const { authority, ledger, now, places } = this.#parts;
    const { retired } = authority;
    const holders = retired === undefined ? [] : ledger.holders(retired, now());
    const inUse = holders.filter(({ node, spiffeId }) => {
      const id = parseSpiffeId(spiffeId);
      const workload = id.ok ? workloadOf(id.value) : undefined;
      // What is no longer placed on a node is not in use there, whatever its certificate says.
      return workload === undefined || places(node, workload.namespace, workload.serviceAccount);
    });
    return inUse.map(({ node, spiffeId }) => `${node} to renew ${spiffeId}`);
  }
}
