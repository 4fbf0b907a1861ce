// SPDX-License-Identifier: Apache-2.0
// What the control plane says of trust: which roots are believed, which of them are on their way
// out, and whom the node refuses whatever its certificate says.
import { createHash, X509Certificate } from 'node:crypto';
import type { DenyList } from '../native/index.ts';
import { MeshError } from '../src/lib/error.ts';
import type { Logger } from '../src/lib/log.ts';
import { parseSpiffeId } from '../src/spiffe/id.ts';
import type { Update } from '../src/xds/client.ts';
import type { TrustBundle, typeUrls } from '../src/xds/wire.ts';
import { check } from './field-checks.ts';

/** The roots of the own trust domain, as they were last told. */
export interface TrustedRoots {
  /** DER. */
  readonly roots: readonly Uint8Array[];
  /**
   * Whether a chain (leaf first, no root) should be replaced: it leads to no root but one that is
   * retired or gone, or its leaf's serial number is on the deny list.
   */
  retires(chain: readonly Uint8Array[]): boolean;
}

/** Who has to know: the certificates of workloads, and that of the node. */
export interface TrustFollower {
  setTrust(trusted: TrustedRoots): void;
}

/** What enforces the deny list: the engine. */
export interface DenySink {
  setDenyList(list: DenyList): void;
}

/** Most roots of a bundle, and most entries of each half of the deny list. */
export const rootsMax = 16;
export const denyEntriesMax = 100_000;

type TrustUpdate = Extract<Update, { type: typeof typeUrls.trustBundle }>;

function parseRoot(der: Uint8Array): X509Certificate {
  try {
    return new X509Certificate(der);
  } catch (cause) {
    throw new MeshError('invalid', 'a root is not a certificate', { cause });
  }
}

function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

// The form that the deny list has: without leading zeros.
function serialOf({ serialNumber }: X509Certificate): string {
  return serialNumber.toLowerCase().replace(/^0+(?=.)/, '');
}

/** The roots of a bundle. Throws MeshError `invalid` when there is no good one. */
export function rootsOf({ roots, retiredRoots, deniedSerials }: TrustBundle): TrustedRoots {
  check(roots.length > 0 && roots.length <= rootsMax, `not 1 to ${rootsMax} roots`);
  const parsed = roots.map(parseRoot);
  check(
    parsed.every(({ ca }) => ca),
    'a root is no certificate authority',
  );
  const denied = new Set(deniedSerials);
  const gone = new Set(retiredRoots.map((hash) => Buffer.from(hash).toString('hex')));
  const staying = parsed.filter(({ raw }) => !gone.has(sha256Of(raw)));
  check(staying.length > 0, 'every root is retired');
  return {
    roots: roots.map((der) => new Uint8Array(der)),
    retires: ([leaf, ...rest]) => {
      if (leaf === undefined) {
        return false;
      }
      const certificate = new X509Certificate(leaf);
      const top = new X509Certificate(rest.at(-1) ?? leaf);
      return denied.has(serialOf(certificate)) || !staying.some((root) => top.checkIssued(root));
    },
  };
}

/** The deny list of a bundle. Throws MeshError `invalid` when an entry cannot be meant. */
export function denyListOf({ deniedIdentities, deniedSerials }: TrustBundle): DenyList {
  for (const entries of [deniedIdentities, deniedSerials]) {
    check(entries.length <= denyEntriesMax, `over ${denyEntriesMax} entries in the deny list`);
  }
  for (const identity of deniedIdentities) {
    check(parseSpiffeId(identity).ok, `${identity} in the deny list is not a SPIFFE ID`);
  }
  for (const serial of deniedSerials) {
    check(/^[0-9a-f]{1,40}$/.test(serial), `${serial} in the deny list is no serial number`);
  }
  return { identities: deniedIdentities, serials: deniedSerials };
}

/**
 * Applies trust bundles. One that breaks a rule is refused whole, and the last good one stays in
 * force; so it does when the control plane takes the bundle away. Main thread only.
 */
export class Trust {
  readonly #trustDomain: string;
  readonly #sink: DenySink;
  readonly #followers: readonly TrustFollower[];
  readonly #log: Logger;

  constructor(
    trustDomain: string,
    sink: DenySink,
    followers: readonly TrustFollower[],
    log: Logger,
  ) {
    this.#trustDomain = trustDomain;
    this.#sink = sink;
    this.#followers = followers;
    this.#log = log;
  }

  /** Applies one update; returns the rejected names with the reason of each. */
  update({ changed, removed }: TrustUpdate): ReadonlyMap<string, string> {
    const rejected = new Map<string, string>();
    for (const [name, bundle] of changed) {
      try {
        this.#apply(name, bundle);
      } catch (error) {
        rejected.set(name, MeshError.from(error).message);
      }
    }
    if (removed.length > 0) {
      this.#log.warn({ removed }, 'trust bundle taken away; the last one stays in force');
    }
    return rejected;
  }

  #apply(name: string, bundle: TrustBundle): void {
    check(
      name === this.#trustDomain && bundle.trustDomain === name,
      `not the trust domain ${this.#trustDomain} of this node`,
    );
    const denied = denyListOf(bundle);
    const trusted = rootsOf(bundle);
    // Who is refused comes first: nothing that follows may let a peer in before.
    this.#sink.setDenyList(denied);
    for (const follower of this.#followers) {
      follower.setTrust(trusted);
    }
    const { epoch, roots, retiredRoots } = bundle;
    const counts = { roots: roots.length, retired: retiredRoots.length };
    const denies = { identities: denied.identities.length, serials: denied.serials.length };
    this.#log.info({ epoch: Number(epoch), ...counts, denied: denies }, 'trust bundle');
  }
}
