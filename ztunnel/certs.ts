// SPDX-License-Identifier: Apache-2.0
// The certificates of local identities: asked for in time, renewed at half life, handed to the
// engine, and taken away with the last who needs them.
import type { IdentityMaterial } from '../native/index.ts';
import type { CertificateOrder, IssuedCertificate } from '../src/ca/client.ts';
import { Backoff, renewalDelayMs } from '../src/lib/backoff.ts';
import { MeshError } from '../src/lib/error.ts';
import type { Logger } from '../src/lib/log.ts';

/** Who issues certificates: the CA's client. */
export interface CertificateIssuer {
  issue(order: CertificateOrder): Promise<IssuedCertificate>;
}

/** Who uses them: the engine. */
export interface IdentitySink {
  setIdentity(material: IdentityMaterial): void;
  removeIdentity(spiffeId: string): void;
}

/** Most identities one node keeps; a node has a few hundred pods at most. */
export const identitiesMax = 4096;
/** Most asks under way at once. */
export const issueConcurrencyMax = 8;
/** Validity that is asked for, in seconds: a day. */
export const validitySeconds = 86_400;

const timerMsMax = 2 ** 31 - 1;

interface Entry {
  readonly spiffeId: string;
  readonly pods: Set<string>;
  readonly backoff: Backoff;
  expected: boolean;
  issued: boolean;
  timer: NodeJS.Timeout | undefined;
}

/**
 * One certificate for each identity that a local pod holds, and ahead of time for those the
 * control plane places here. A certificate whose renewal fails stays in use while it lasts.
 * Main thread only.
 */
export class Certificates {
  readonly #issuer: CertificateIssuer;
  readonly #sink: IdentitySink;
  readonly #log: Logger;
  readonly #entries = new Map<string, Entry>();
  readonly #queue = new Set<Entry>();
  readonly #running = new Set<Entry>();
  #closed = false;

  constructor(issuer: CertificateIssuer, sink: IdentitySink, log: Logger) {
    this.#issuer = issuer;
    this.#sink = sink;
    this.#log = log;
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

  /** Whether the engine has a certificate for this identity. */
  has(spiffeId: string): boolean {
    return this.#entries.get(spiffeId)?.issued ?? false;
  }

  /** Stops asking and renewing. What the engine has stays with it. */
  close(): void {
    this.#closed = true;
    this.#queue.clear();
    for (const { timer } of this.#entries.values()) {
      clearTimeout(timer);
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
      issued: false,
      timer: undefined,
    };
    this.#entries.set(spiffeId, entry);
    this.#queue.add(entry);
    return entry;
  }

  #drop(entry: Entry): void {
    clearTimeout(entry.timer);
    this.#queue.delete(entry);
    this.#entries.delete(entry.spiffeId);
    if (entry.issued) {
      this.#sink.removeIdentity(entry.spiffeId);
    }
  }

  // Identities that pods wait for go before those that are only expected.
  #pump(): void {
    while (this.#running.size < issueConcurrencyMax) {
      const waiting = [...this.#queue];
      const entry = waiting.find(({ pods }) => pods.size > 0) ?? waiting[0];
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

  async #issue(entry: Entry): Promise<void> {
    const { spiffeId } = entry;
    const issued = await this.#issuer.issue({ spiffeId, validitySeconds, impersonate: true });
    try {
      if (this.#entries.get(spiffeId) !== entry) {
        return;
      }
      const { chain, key, roots } = issued;
      this.#sink.setIdentity({ spiffeId, chain, key, roots });
    } finally {
      issued.key.fill(0);
    }
    entry.issued = true;
    entry.backoff.reset();
    this.#log.info({ identity: spiffeId, notAfter: issued.notAfter }, 'certificate issued');
    this.#again(entry, renewalDelayMs(issued, Date.now()));
  }

  #failed(entry: Entry, error: MeshError): void {
    if (this.#entries.get(entry.spiffeId) !== entry) {
      return;
    }
    const waitMs = Math.round(entry.backoff.next());
    const { code, message } = error;
    this.#log.warn({ identity: entry.spiffeId, code, reason: message, waitMs }, 'no certificate');
    this.#again(entry, waitMs);
  }

  #again(entry: Entry, waitMs: number): void {
    const due = (): void => {
      this.#queue.add(entry);
      this.#pump();
    };
    entry.timer = setTimeout(due, Math.min(waitMs, timerMsMax));
  }
}
