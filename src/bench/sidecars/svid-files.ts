// SPDX-License-Identifier: Apache-2.0
// Certificates as PEM files, for programs that read them so.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Authority } from '../../ca/authority.ts';
import { parseSpiffeId } from '../../spiffe/id.ts';

/** PEM files of one identity. */
export interface SvidFiles {
  /** Leaf first, without the root. */
  readonly chainFile: string;
  /** PKCS#8, 0600. */
  readonly keyFile: string;
  /** Chain and key in one, for programs that want that; 0600. */
  readonly bundleFile: string;
  readonly rootFile: string;
}

/** The trust domain of them all. */
export const trustDomain = 'cluster.local';
const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };

/** An authority of its own kind for one measurement, in a folder that its owner removes. */
export class SvidFolder {
  readonly #folder: string;
  readonly #authority: Authority;

  private constructor(folder: string, authority: Authority) {
    this.#folder = folder;
    this.#authority = authority;
  }

  /** Opens `folder`, or makes it (0700) with a new root in it. */
  static async open(folder: string): Promise<SvidFolder> {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const authority = await Authority.open(join(folder, 'authority'), trustDomain, new Date());
    writeFileSync(join(folder, 'root.pem'), authority.rootPem);
    return new SvidFolder(folder, authority);
  }

  /** The SPIFFE ID of a service account of the namespace `bench`; of "", what all begin with. */
  static idOf(account: string): string {
    return `spiffe://${trustDomain}/ns/bench/sa/${account}`;
  }

  /** Issues a certificate for that service account, valid for a day; also for these addresses. */
  async issue(account: string, ipAddresses: readonly string[] = []): Promise<SvidFiles> {
    const spiffeId = parseSpiffeId(SvidFolder.idOf(account));
    if (!spiffeId.ok) {
      throw spiffeId.error;
    }
    const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
    const whom = { publicKey: keys.publicKey, spiffeId: spiffeId.value, ipAddresses };
    const order = { ...whom, validitySeconds: 0 };
    const { chainPem } = await this.#authority.issue(order, new Date());
    const key = Buffer.from(await crypto.subtle.exportKey('pkcs8', keys.privateKey));
    const base64 = key.toString('base64').replace(/.{64}/g, '$&\n');
    const file = (name: string): string => join(this.#folder, name);
    const files = {
      chainFile: file(`${account}.pem`),
      keyFile: file(`${account}-key.pem`),
      bundleFile: file(`${account}-bundle.pem`),
      rootFile: file('root.pem'),
    };
    const chain = chainPem.slice(0, -1).join('');
    writeFileSync(files.chainFile, chain);
    const pem = `-----BEGIN PRIVATE KEY-----\n${base64}\n-----END PRIVATE KEY-----\n`;
    writeFileSync(files.keyFile, pem, { mode: 0o600 });
    writeFileSync(files.bundleFile, `${chain}${pem}`, { mode: 0o600 });
    key.fill(0);
    return files;
  }
}
