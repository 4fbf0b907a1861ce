// SPDX-License-Identifier: Apache-2.0
// The certificate authority of a trust domain: the roots that are believed, the generation that
// signs, and the steps by which one root takes the place of another without a moment in which a
// good certificate is refused.
import { KeyObject, type X509Certificate } from 'node:crypto';
import { MeshError } from '../lib/error.ts';
import { ensurePrivateFolder } from '../lib/private-files.ts';
import { formatSpiffeId, type SpiffeId } from '../spiffe/id.ts';
import { backdateSeconds, signLeaf } from './certificate.ts';
import {
  type Generation,
  type GenerationName,
  keepGiven,
  makeGeneration,
  readGeneration,
  readRoot,
  removeGeneration,
  renewalOf,
  renewGeneration,
} from './generation.ts';
import type { GivenAuthority } from './given-authority.ts';
import { pemOf } from './pem.ts';
import {
  createTrustRecord,
  phaseOf,
  type RotationPhase,
  readTrustRecord,
  type TrustRecord,
  writeTrustRecord,
} from './trust-record.ts';

export { backdateSeconds } from './certificate.ts';

/** What goes into a leaf. */
export interface LeafOrder {
  /** P-256. */
  readonly publicKey: CryptoKey;
  readonly spiffeId: SpiffeId;
  /** Further names, for servers that are reached by them. */
  readonly dnsNames?: readonly string[];
  readonly ipAddresses?: readonly string[];
  /** Brought into [validitySecondsMin, validitySecondsMax]; 0 means the default. */
  readonly validitySeconds: number;
  /**
   * For the control plane's own certificate, which the old root signs for as long as it is believed:
   * a node that was away during a rotation knows no other.
   */
  readonly forControl?: boolean;
}

/** A certificate that was issued. */
export interface IssuedLeaf {
  /** PEM: the leaf, what stands between, and last, in one text, the roots. */
  readonly chainPem: readonly string[];
  /** Hexadecimal, as it stands in the certificate. */
  readonly serial: string;
  readonly notAfter: Date;
  /** Which generation signed it. */
  readonly generation: string;
}

/** A root that is believed. */
export interface TrustRoot {
  readonly der: Uint8Array;
  /** Nothing is signed under it any more: holders of such leaves should renew them now. */
  readonly retired: boolean;
}

/** Shortest and longest validity of a leaf, and what is given when none is asked for. */
export const validitySecondsMin = 60;
export const validitySecondsMax: number = 24 * 3600;
export const validitySecondsDefault: number = 24 * 3600;

interface Generations {
  readonly active: Generation;
  readonly next: Generation | undefined;
  readonly retired: Generation | undefined;
}

function nameOf({ id, kind }: Generation): GenerationName {
  return { id, kind };
}

function sameRoot(a: X509Certificate, b: X509Certificate): boolean {
  return a.fingerprint256 === b.fingerprint256;
}

function pathEnd({ root, chain }: Generation): number {
  return Math.min(...[...chain, root].map(({ validToDate }) => validToDate.getTime()));
}

async function recordIn(folder: string): Promise<TrustRecord> {
  const record = await readTrustRecord(folder);
  if (record === undefined) {
    const message = `${folder} holds no certificate authority; weft control makes one when it starts`;
    throw new MeshError('unavailable', message);
  }
  return record;
}

async function readAll(folder: string, record: TrustRecord): Promise<Generations> {
  const { active, next, retired } = record;
  return {
    active: await readGeneration(folder, active),
    next: next && (await readGeneration(folder, next)),
    retired: retired && (await readGeneration(folder, retired)),
  };
}

/**
 * The roots that a state folder believes in, DER, those first that the control plane may present
 * now; and the trust domain that they are for. Throws MeshError `unavailable` when it has none.
 */
export async function readRoots(
  folder: string,
): Promise<{ readonly roots: readonly Uint8Array[]; readonly trustDomain: string }> {
  const { trustDomain, active, next, retired } = await recordIn(folder);
  const roots: Uint8Array[] = [];
  for (const name of [retired, active, next]) {
    if (name !== undefined) {
      roots.push(new Uint8Array((await readRoot(folder, name.id)).raw));
    }
  }
  return { roots, trustDomain };
}

/** A CA with what signs in memory. One at a time on a folder, except while it is being made. */
export class Authority {
  readonly #folder: string;
  #record: TrustRecord;
  #generations: Generations;

  private constructor(folder: string, record: TrustRecord, generations: Generations) {
    this.#folder = folder;
    this.#record = record;
    this.#generations = generations;
  }

  /**
   * Opens the CA that is kept in `folder`, or makes one there, readable by its owner alone: of
   * `given`, or else of our own. A `given` one that is not the folder's becomes the next one.
   * Throws MeshError `conflict` when the folder's CA is for another trust domain.
   */
  static async open(
    folder: string,
    trustDomain: string,
    now: Date,
    given?: GivenAuthority,
  ): Promise<Authority> {
    await ensurePrivateFolder(folder);
    if ((await readTrustRecord(folder)) === undefined) {
      await Authority.#found(folder, trustDomain, now, given);
    }
    const record = await recordIn(folder);
    if (record.trustDomain !== trustDomain) {
      const message = `${folder} belongs to trust domain ${record.trustDomain}, not ${trustDomain}`;
      throw new MeshError('conflict', message);
    }
    const authority = new Authority(folder, record, await readAll(folder, record));
    if (given !== undefined) {
      await authority.#take(given, now);
    }
    return authority;
  }

  // Of several that do this at one time, the record of one stays, and all read that.
  static async #found(
    folder: string,
    trustDomain: string,
    now: Date,
    given: GivenAuthority | undefined,
  ): Promise<void> {
    const first =
      given === undefined
        ? await makeGeneration(folder, trustDomain, now)
        : await keepGiven(folder, given);
    const since = now.toISOString();
    const record = { version: 1, trustDomain, epoch: 1, since, walk: false } as const;
    if (!(await createTrustRecord(folder, { ...record, active: nameOf(first) }))) {
      await removeGeneration(folder, first.id);
    }
  }

  // A certificate authority that the user changed is rotated to; a new intermediate of the same
  // root is taken as it is.
  async #take(given: GivenAuthority, now: Date): Promise<void> {
    const { active, next } = this.#generations;
    const isKnown = ({ signer }: Generation): boolean =>
      sameRoot(signer.certificate, given.signer.certificate);
    if (isKnown(active) || (next !== undefined && isKnown(next))) {
      return;
    }
    if (sameRoot(active.root, given.root)) {
      const kept = await keepGiven(this.#folder, given);
      await this.#become({ ...this.#record, active: nameOf(kept) }, [active.id]);
      return;
    }
    await this.prepare(now, true, given);
  }

  get trustDomain(): string {
    return this.#record.trustDomain;
  }

  /** Rises with every change of the roots. */
  get epoch(): number {
    return this.#record.epoch;
  }

  get phase(): RotationPhase {
    return phaseOf(this.#record);
  }

  /** When the phase began. */
  get since(): Date {
    return new Date(this.#record.since);
  }

  /** Whether the rotation that is under way goes on by itself. */
  get walks(): boolean {
    return this.#record.walk;
  }

  /** The generation that signs, and the one whose leaves are on their way out. */
  get signing(): string {
    return this.#record.active.id;
  }

  get retired(): string | undefined {
    return this.#record.retired?.id;
  }

  /** The end of the path that signs now: root and intermediate. */
  get notAfter(): Date {
    return new Date(pathEnd(this.#generations.active));
  }

  /** Whether the root that signs is in the last fifth of its life, and should be replaced. */
  isOld(now: Date): boolean {
    const { validFromDate, validToDate } = this.#generations.active.root;
    const life = validToDate.getTime() - validFromDate.getTime();
    return validToDate.getTime() - now.getTime() < life / 5;
  }

  /** Whether the authority that signs is the user's, who alone can replace it. */
  get isGiven(): boolean {
    return this.#generations.active.kind === 'given';
  }

  /** Everything that is believed; the root that signs comes first. */
  get roots(): readonly TrustRoot[] {
    const { active, next, retired } = this.#generations;
    const entry = (root: X509Certificate, isRetired: boolean): TrustRoot => ({
      der: new Uint8Array(root.raw),
      retired: isRetired,
    });
    const all = [entry(active.root, false)];
    if (next !== undefined) {
      all.push(entry(next.root, false));
    }
    if (retired !== undefined) {
      all.push(entry(retired.root, true));
    }
    return all;
  }

  /** The same roots in PEM, one text. */
  get rootPem(): string {
    const { active, next, retired } = this.#generations;
    return [active, next, retired].map((one) => (one ? pemOf(one.root) : '')).join('');
  }

  /** Issues a leaf that is an X.509-SVID. The caller has decided that it may have this identity. */
  async issue(order: LeafOrder, now: Date): Promise<IssuedLeaf> {
    if (order.spiffeId.trustDomain !== this.trustDomain || order.spiffeId.path === '') {
      throw new MeshError(
        'invalid',
        'a leaf needs a SPIFFE ID with a path in the own trust domain',
      );
    }
    const { active, retired } = this.#generations;
    const by = order.forControl === true ? (retired ?? active) : active;
    const asked = order.validitySeconds || validitySecondsDefault;
    const seconds = Math.min(validitySecondsMax, Math.max(validitySecondsMin, asked));
    const end = Math.min(now.getTime() + seconds * 1000, pathEnd(by));
    if (end <= now.getTime()) {
      throw new MeshError('unavailable', 'the certificate authority itself has expired');
    }
    const { dnsNames = [], ipAddresses = [] } = order;
    const leaf = signLeaf(
      {
        spki: KeyObject.from(order.publicKey).export({ format: 'der', type: 'spki' }),
        names: { uri: formatSpiffeId(order.spiffeId), dnsNames, ipAddresses },
        notBefore: new Date(now.getTime() - backdateSeconds * 1000),
        notAfter: new Date(end),
      },
      by.signer,
    );
    const roots = order.forControl === true ? pemOf(by.root) : this.rootPem;
    return {
      chainPem: [pemOf(leaf), ...by.chain.map(pemOf), roots],
      serial: leaf.serialNumber.toLowerCase(),
      notAfter: leaf.validToDate,
      generation: by.id,
    };
  }

  /**
   * Renews the intermediate when half of its life is over. True when it did. Throws MeshError
   * `unavailable` when the root's key is not there: the old one signs on while it lasts.
   */
  async maintain(now: Date): Promise<boolean> {
    const { active } = this.#generations;
    if (active.kind === 'given' || renewalOf(active) > now) {
      return false;
    }
    const renewed = await renewGeneration(this.#folder, this.trustDomain, active, now);
    this.#generations = { ...this.#generations, active: renewed };
    return true;
  }

  /**
   * First step of a rotation: makes the next root, or takes one that is given, and believes in it.
   * `walk` says whether the rotation goes on by itself. Throws MeshError `conflict` when one is
   * under way.
   */
  async prepare(now: Date, walk: boolean, given?: GivenAuthority): Promise<void> {
    this.#mustBe('steady');
    const next =
      given === undefined
        ? await makeGeneration(this.#folder, this.trustDomain, now)
        : await keepGiven(this.#folder, given);
    await this.#step({ ...this.#record, next: nameOf(next), walk }, now, []);
  }

  /** Second step: the next root signs, and the one of before is retired. */
  async activate(now: Date): Promise<void> {
    this.#mustBe('prepared');
    const { next, active, ...rest } = this.#record;
    if (next !== undefined) {
      await this.#step({ ...rest, active: next, retired: active }, now, []);
    }
  }

  /** Last step: the retired root is believed no more, and its keys are removed. */
  async finish(now: Date): Promise<void> {
    this.#mustBe('activated');
    const { retired, ...rest } = this.#record;
    await this.#step({ ...rest, walk: false }, now, retired === undefined ? [] : [retired.id]);
  }

  /** Makes the rotation under way go on by itself, or not. */
  async setWalk(walk: boolean): Promise<void> {
    await this.#become({ ...this.#record, walk }, []);
  }

  #mustBe(phase: RotationPhase): void {
    if (this.phase !== phase) {
      throw new MeshError('conflict', `the rotation is ${this.phase}, not ${phase}`);
    }
  }

  async #step(record: TrustRecord, now: Date, gone: readonly string[]): Promise<void> {
    await this.#become({ ...record, epoch: record.epoch + 1, since: now.toISOString() }, gone);
  }

  // The record is the truth; files that it does not name are leftovers.
  async #become(record: TrustRecord, gone: readonly string[]): Promise<void> {
    const generations = await readAll(this.#folder, record);
    await writeTrustRecord(this.#folder, record);
    this.#record = record;
    this.#generations = generations;
    for (const id of gone) {
      await removeGeneration(this.#folder, id);
    }
  }
}
