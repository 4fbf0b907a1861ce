// SPDX-License-Identifier: Apache-2.0
// Which certificates the engine was given, for those who show them. Keys pass through unseen.
import { X509Certificate } from 'node:crypto';
import type { IdentityMaterial } from '../native/index.ts';
import type { ShownCertificate, ShownIdentity } from '../src/lib/admin-api.ts';
import type { IdentitySink } from './certs.ts';

type Chain = Pick<IdentityMaterial, 'chain' | 'roots'>;

function shown(der: Uint8Array): ShownCertificate {
  const certificate = new X509Certificate(der);
  return {
    pem: certificate.toString(),
    serialNumber: BigInt(`0x${certificate.serialNumber}`).toString(),
    validFrom: certificate.validFromDate.toISOString(),
    expirationTime: certificate.validToDate.toISOString(),
  };
}

/** Hands identities on, and remembers their certificates. Main thread only. */
export class CertificateBook implements IdentitySink {
  readonly #sink: IdentitySink;
  readonly #chains = new Map<string, Chain>();

  constructor(sink: IdentitySink) {
    this.#sink = sink;
  }

  setIdentity(material: IdentityMaterial): void {
    this.#sink.setIdentity(material);
    const { spiffeId, chain, roots } = material;
    this.#chains.set(spiffeId, { chain, roots });
  }

  removeIdentity(spiffeId: string): void {
    this.#chains.delete(spiffeId);
    this.#sink.removeIdentity(spiffeId);
  }

  /** How many identities have a certificate. */
  get size(): number {
    return this.#chains.size;
  }

  /** When the first of them ends, in milliseconds since 1970; undefined when there is none. */
  firstEnd(): number | undefined {
    const ends = [...this.#chains.values()].flatMap(({ chain }) => {
      const [leaf] = chain;
      return leaf === undefined ? [] : [new X509Certificate(leaf).validToDate.getTime()];
    });
    return ends.length === 0 ? undefined : Math.min(...ends);
  }

  /** All of them, by identity; `now` in milliseconds since 1970. */
  show(now: number): ShownIdentity[] {
    return [...this.#chains].sort().map(([identity, { chain, roots }]) => {
      const certChain = chain.map(shown);
      const ended = certChain.some(({ expirationTime }) => Date.parse(expirationTime) <= now);
      const state = ended ? 'Expired' : 'Available';
      return { identity, state, certChain, rootCerts: roots.map(shown) };
    });
  }
}
