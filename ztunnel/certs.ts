// SPDX-License-Identifier: Apache-2.0
// The certificates of local identities: asked for in time, renewed at half life, handed to the
// engine, and taken away with the last who needs them.
import type { IdentityMaterial } from '../native/index.ts';
import type { CertificateOrder, IssuedCertificate } from '../src/ca/client.ts';
import { Backoff, renewalDelayMs } from '../src/lib/backoff.ts';
import { MeshError } from '../src/lib/error.ts';
import type { Logger } from '../src/lib/log.ts';
import type { KeyStore } from './key-folder.ts';
import type { TrustedRoots, TrustFollower } from './trust.ts';

/** Who issues certificates: the CA's client. */
export interface CertificateIssuer {
  issue(order: CertificateOrder): Promise<IssuedCertificate>;
}

/** Who uses them: the engine. */
export interface IdentitySink {
  setIdentity(material: IdentityMaterial): void;
  removeIdentity(spiffeId: string): void;
}

/** What certificates are made of. */
export interface CertificatesParts {
  readonly issuer: CertificateIssuer;
  readonly sink: IdentitySink;
  readonly keys: KeyStore;
  /** Called when the sink got a certificate that `has` tells of. */
  readonly onIssued?: () => void;
  readonly log: Logger;
}

/** Most identities one node keeps; a node has a few hundred pods at most. */
export const identitiesMax = 4096;
/** Most asks under way at once. */
export const issueConcurrencyMax = 8;
/** Validity that is asked for, in seconds: a day. */
export const validitySeconds = 86_400;
/** When a root is retired, the leaves under it are renewed within this time, not all at once. */
export const retiredRenewalMs = 3_000;

const timerMsMax = 2 ** 31 - 1;

interface Entry {
  readonly spiffeId: string;
  readonly pods: Set<string>;
  readonly backoff: Backoff;
  expected: boolean;
  /** What the engine has. Its key stays here, for the engine to be told of new roots. */
  current: IssuedCertificate | undefined;
  timer: NodeJS.Timeout | undefined;
}

function isValid(issued: IssuedCertificate | undefined): boolean {
  return issued !== undefined && issued.notAfter.getTime() > Date.now();
}

/** Pods whose connections wait come first, then renewals, then what is only expected. */
const urgencies = ['waited for', 'in use', 'expected'] as const;

function urgencyOf({ pods, current }: Entry): (typeof urgencies)[number] {
  if (isValid(current)) {
    return 'in use';
  }
  return pods.size > 0 ? 'waited for' : 'expected';
}

/**
 * One certificate for each identity that a local pod holds, and ahead of time for those the
 * control plane places here. A certificate whose renewal fails stays in use while it lasts.
 * Main thread only.
 */
export class Certificates implements TrustFollower {
  readonly #parts: CertificatesParts;
  readonly #entries = new Map<string, Entry>();
  readonly #queue = new Set<Entry>();
  readonly #running = new Set<Entry>();
  #trusted: TrustedRoots | undefined;
  #closed = false;

  constructor(parts: CertificatesParts) {
    this.#parts = parts;
  }

  /** A local pod carries this identity from now on. Throws MeshError `limit` past the maximum. */
  hold(spiffeId: string, podUid: string): void {
    const entry = this.#entryOf(spiffeId);
    if (entry === undefined) {
      throw new MeshError('limit', `over ${identitiesMax} identities on this node`);
    }
    entry.pods.add(podUid);
    this.#pump();
  }

  /** The pod carries it no more. The last one takes certificate and key with it. */
  release(spiffeId: string, podUid: string): void {
    const entry = this.#entries.get(spiffeId);
    if (entry?.pods.delete(podUid) && entry.pods.size === 0) {
      // Even when it is expected still: a key outlives no pod it was for.
      this.#drop(entry);
    }
  }

  /** The identities that pods of this node will carry. Those not named now are not kept for it. */
  expect(spiffeIds: ReadonlySet<string>): void {
    for (const entry of [...this.#entries.values()]) {
      entry.expected = spiffeIds.has(entry.spiffeId);
      if (!entry.expected && entry.pods.size === 0) {
        this.#drop(entry);
      }
    }
    for (const spiffeId of spiffeIds) {
      const entry = this.#entryOf(spiffeId);
      if (entry !== undefined) {
        entry.expected = true;
      }
    }
    this.#pump();
  }

  /**
   * Peers are checked against these roots from now on. Tunnels that are open go on. What a retired
   * root signed is renewed soon.
   */
  setTrust(trusted: TrustedRoots): void {
    this.#trusted = trusted;
    for (const entry of this.#entries.values()) {
      if (entry.current !== undefined) {
        this.#retell(entry, entry.current);
      }
    }
  }

  #retell(entry: Entry, current: IssuedCertificate): void {
    try {
      this.#hand(entry, current);
    } catch (error) {
      const { message } = MeshError.from(error);
      this.#parts.log.error({ identity: entry.spiffeId, reason: message }, 'new roots not taken');
    }
    this.#schedule(entry, current);
  }

  /** Wipes saved keys of identities that nobody here holds or is expected to hold. */
  forgetOthers(): void {
    this.#parts.keys.keepOnly(new Set(this.#entries.keys()));
  }

  /** Whether the engine has a certificate for this identity. */
  has(spiffeId: string): boolean {
    return isValid(this.#entries.get(spiffeId)?.current);
  }

  /** Stops asking and renewing, and wipes its keys. What the engine has stays with it. */
  close(): void {
    this.#closed = true;
    this.#queue.clear();
    for (const { timer, current } of this.#entries.values()) {
      clearTimeout(timer);
      current?.key.fill(0);
    }
    this.#entries.clear();
  }

  #entryOf(spiffeId: string): Entry | undefined {
    const known = this.#entries.get(spiffeId);
    if (known !== undefined || this.#closed || this.#entries.size >= identitiesMax) {
      return known;
    }
    const entry: Entry = {
      spiffeId,
      pods: new Set(),
      backoff: new Backoff({ firstMs: 500, maxMs: 150_000, jitter: 0.2 }),
      expected: false,
      current: undefined,
      timer: undefined,
    };
    this.#entries.set(spiffeId, entry);
    if (!this.#takeSaved(entry)) {
      this.#queue.add(entry);
    }
    return entry;
  }

  // What an earlier process left is used at once; its renewal comes when it is due.
  #takeSaved(entry: Entry): boolean {
    const { keys, log } = this.#parts;
    const saved = keys.load(entry.spiffeId);
    if (saved === undefined) {
      return false;
    }
    try {
      this.#use(entry, saved);
    } catch (error) {
      saved.key.fill(0);
      keys.remove(entry.spiffeId);
      const { message } = MeshError.from(error);
      log.warn({ identity: entry.spiffeId, reason: message }, 'saved certificate not used');
      return false;
    }
    const { spiffeId, notAfter } = saved;
    log.info({ identity: spiffeId, notAfter }, 'saved certificate in use');
    return true;
  }

  #drop(entry: Entry): void {
    clearTimeout(entry.timer);
    this.#queue.delete(entry);
    this.#entries.delete(entry.spiffeId);
    this.#parts.keys.remove(entry.spiffeId);
    if (entry.current !== undefined) {
      entry.current.key.fill(0);
      this.#parts.sink.removeIdentity(entry.spiffeId);
    }
  }

  #pump(): void {
    while (this.#running.size < issueConcurrencyMax) {
      const entry = this.#mostUrgent();
      if (entry === undefined) {
        return;
      }
      this.#queue.delete(entry);
      this.#running.add(entry);
      this.#issue(entry)
        .catch((error: unknown) => this.#failed(entry, MeshError.from(error)))
        .finally(() => {
          this.#running.delete(entry);
          this.#pump();
        });
    }
  }

  #mostUrgent(): Entry | undefined {
    const found = new Map<string, Entry>();
    for (const entry of this.#queue) {
      const urgency = urgencyOf(entry);
      if (!found.has(urgency) && !this.#running.has(entry)) {
        found.set(urgency, entry);
      }
      if (found.has(urgencies[0])) {
        break;
      }
    }
    return urgencies.map((urgency) => found.get(urgency)).find((entry) => entry !== undefined);
  }

  async #issue(entry: Entry): Promise<void> {
    const { issuer, keys, log } = this.#parts;
    const { spiffeId } = entry;
    const issued = await issuer.issue({ spiffeId, validitySeconds, impersonate: true });
    if (this.#entries.get(spiffeId) !== entry) {
      issued.key.fill(0);
      return;
    }
    try {
      this.#use(entry, issued);
    } catch (error) {
      issued.key.fill(0);
      throw error;
    }
    keys.save(issued);
    entry.backoff.reset();
    log.info({ identity: spiffeId, notAfter: issued.notAfter }, 'certificate issued');
    if (issued.notBefore.getTime() > Date.now()) {
      log.warn({ notBefore: issued.notBefore }, 'the clock of this node is over a minute behind');
    }
  }

  #use(entry: Entry, issued: IssuedCertificate): void {
    const before = entry.current;
    this.#hand(entry, issued);
    entry.current = issued;
    this.#queue.delete(entry);
    if (before !== issued) {
      before?.key.fill(0);
    }
    this.#schedule(entry, issued);
    this.#parts.onIssued?.();
  }

  #hand({ spiffeId }: Entry, { chain, key, roots }: IssuedCertificate): void {
    const copy = key.slice();
    try {
      const bundle = this.#trusted?.roots ?? roots;
      this.#parts.sink.setIdentity({ spiffeId, chain, key: copy, roots: bundle });
    } finally {
      copy.fill(0);
    }
  }

  #schedule(entry: Entry, issued: IssuedCertificate): void {
    const half = renewalDelayMs(issued, Date.now());
    const retired = this.#trusted?.retires(issued.chain) === true;
    this.#again(entry, retired ? Math.min(half, Math.random() * retiredRenewalMs) : half);
  }

  #failed(entry: Entry, error: MeshError): void {
    if (this.#entries.get(entry.spiffeId) !== entry) {
      return;
    }
    const waitMs = Math.round(entry.backoff.next());
    const { code, message } = error;
    const { log } = this.#parts;
    log.warn({ identity: entry.spiffeId, code, reason: message, waitMs }, 'no certificate');
    this.#again(entry, waitMs);
  }

  #again(entry: Entry, waitMs: number): void {
    clearTimeout(entry.timer);
    const due = (): void => {
      this.#queue.add(entry);
      this.#pump();
    };
    entry.timer = setTimeout(due, Math.min(waitMs, timerMsMax));
  }
}
