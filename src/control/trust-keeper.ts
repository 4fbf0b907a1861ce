// SPDX-License-Identifier: Apache-2.0
// Keeps what nodes are told about trust equal to what the authority and the deny lists say, and the
// authority itself in good health.
import { createHash } from 'node:crypto';
import type { Authority } from '../ca/authority.ts';
import type { LeafLedger } from '../ca/leaf-ledger.ts';
import { MeshError } from '../lib/error.ts';
import type { Logger } from '../lib/log.ts';
import type { MeshObject } from '../mesh/objects.ts';
import { encodeTrustBundle } from '../xds/encode.ts';
import type { AdsServer } from '../xds/server.ts';
import { typeUrls } from '../xds/wire.ts';
import { Rotation } from './rotation.ts';

/** What it is made of. */
export interface TrustKeeperParts {
  readonly authority: Authority;
  readonly ledger: LeafLedger;
  readonly ads: Pick<AdsServer, 'publish' | 'ackedBy' | 'endDenied'>;
  readonly places: (node: string, namespace: string, serviceAccount: string) => boolean;
  /** The roots have changed: the server's own certificate and what it checks clients with, too. */
  readonly onRoots: () => Promise<void>;
  readonly log: Logger;
  readonly now: () => Date;
}

/** How often the authority is looked after. */
export const maintainMs = 3_600_000;

/** Publishes the trust bundle and the deny list. Main thread only. */
export class TrustKeeper {
  readonly #parts: TrustKeeperParts;
  readonly rotation: Rotation;
  #identities: ReadonlySet<string> = new Set();
  #serials: ReadonlySet<string> = new Set();
  #revision = 0;
  #version = '';
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: TrustKeeperParts) {
    this.#parts = parts;
    const { authority, ledger, places, log, now, ads } = parts;
    this.rotation = new Rotation({
      ...{ authority, ledger, places, log, now },
      acknowledged: () => ads.ackedBy(typeUrls.trustBundle, this.#revision),
      onChange: () => this.#changed(),
    });
  }

  /** Publishes, and looks after the authority. Call `deny` before: an empty list lets peers in. */
  start(): void {
    this.#publish();
    this.rotation.start();
    this.#timer = setInterval(() => void this.maintain(), maintainMs);
  }

  stop(): void {
    this.rotation.stop();
    clearInterval(this.#timer);
  }

  /**
   * Takes the deny lists among the objects of the registry in place of those before. Streams of
   * nodes that are denied now are ended before anything else goes out.
   */
  deny(objects: readonly MeshObject[]): void {
    const lists = objects.flatMap(({ kind, value }) => (kind === 'DenyList' ? [value] : []));
    this.#identities = new Set(lists.flatMap(({ identities }) => identities));
    this.#serials = new Set(lists.flatMap(({ serials }) => serials));
    this.#parts.ads.endDenied(({ name, serial }) => this.denies(name, serial));
    if (this.#revision > 0) {
      this.#publish();
    }
  }

  /** Whether the deny list names this identity, or the certificate with this serial number. */
  denies(spiffeId: string, serial?: string): boolean {
    const byNumber = serial !== undefined && this.#serials.has(serial);
    return byNumber || this.#identities.has(spiffeId);
  }

  /**
   * Renews the intermediate when it is time, and begins to replace a root that is old. What fails
   * is said, and tried again in an hour.
   */
  async maintain(): Promise<void> {
    const { authority, log, now } = this.#parts;
    try {
      if (await authority.maintain(now())) {
        log.info({ notAfter: authority.notAfter }, 'intermediate certificate renewed');
      }
      await this.#replaceOld();
    } catch (error) {
      const { message } = MeshError.from(error);
      log.error(
        { reason: message, notAfter: authority.notAfter },
        'certificate authority not looked after',
      );
    }
  }

  async #replaceOld(): Promise<void> {
    const { authority, log, now } = this.#parts;
    if (!authority.isOld(now()) || authority.phase !== 'steady') {
      return;
    }
    const { notAfter } = authority;
    if (authority.isGiven) {
      log.warn({ notAfter }, 'the given certificate authority ends soon: give another (--ca-cert)');
    } else {
      log.warn({ notAfter }, 'the root ends soon and is being replaced');
      await this.rotation.command('rotate', false);
    }
  }

  async #changed(): Promise<void> {
    // The server first: it must not show a root that nodes have just been told to forget.
    await this.#parts.onRoots();
    this.#publish();
  }

  #publish(): void {
    const { ads, authority } = this.#parts;
    const { trustDomain, epoch, roots } = authority;
    const retired = roots.filter((root) => root.retired);
    const resource = encodeTrustBundle({
      trustDomain,
      roots: roots.map(({ der }) => der),
      deniedIdentities: [...this.#identities].sort(),
      deniedSerials: [...this.#serials].sort(),
      epoch: BigInt(epoch),
      retiredRoots: retired.map(({ der }) => createHash('sha256').update(der).digest()),
    });
    if (resource.version !== this.#version) {
      this.#version = resource.version;
      const change = { changed: [resource], removed: [] };
      this.#revision = ads.publish({ [typeUrls.trustBundle]: change });
    }
  }
}
