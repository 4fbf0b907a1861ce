// SPDX-License-Identifier: Apache-2.0
// A certificate authority for tests of TLS peers. It writes PEM files, and issues what it is told
// to, also what no authority should.
import 'reflect-metadata';
import { randomBytes, webcrypto } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type Extension,
  type JsonGeneralName,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  type X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const hourMs = 3_600_000;

/** How a leaf differs from a good SVID. */
export interface LeafFlaws {
  /** Valid from two hours to one hour ago. */
  readonly expired?: boolean;
  /** Valid from one hour from now. */
  readonly notYetValid?: boolean;
  /** Valid for so long from now on. */
  readonly validForMs?: number;
  /** A second URI name. */
  readonly secondUri?: string;
  /** No URI name at all, but this DNS name. */
  readonly dnsOnly?: string;
  /** CA:TRUE and the right to sign certificates. */
  readonly isCa?: boolean;
  /** Extended key usage for clients (or servers) only. */
  readonly onlyFor?: 'client' | 'server';
}

/** Where a leaf was written: the chain (leaf first, root last) and its key, both PEM. */
export interface LeafFiles {
  readonly cert: string;
  readonly key: string;
}

async function makeKeys(): Promise<webcrypto.CryptoKeyPair> {
  return await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
}

async function keyPem(key: webcrypto.CryptoKey): Promise<string> {
  return PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY');
}

function serial(): string {
  return `01${randomBytes(8).toString('hex')}`;
}

function validity(flaws: LeafFlaws): { notBefore: Date; notAfter: Date } {
  const now = Date.now();
  if (flaws.expired === true) {
    return { notBefore: new Date(now - 2 * hourMs), notAfter: new Date(now - hourMs) };
  }
  const start = flaws.notYetValid === true ? now + hourMs : now - 60_000;
  const end = now + (flaws.validForMs ?? 24 * hourMs);
  return { notBefore: new Date(start), notAfter: new Date(end) };
}

function names(spiffeId: string, flaws: LeafFlaws): JsonGeneralName[] {
  if (flaws.dnsOnly !== undefined) {
    return [{ type: 'dns', value: flaws.dnsOnly }];
  }
  const uris = flaws.secondUri === undefined ? [spiffeId] : [spiffeId, flaws.secondUri];
  return uris.map((value) => ({ type: 'url', value }));
}

function keyUsages(flaws: LeafFlaws): Extension[] {
  const purposes = { client: ExtendedKeyUsage.clientAuth, server: ExtendedKeyUsage.serverAuth };
  const extended =
    flaws.onlyFor === undefined ? Object.values(purposes) : [purposes[flaws.onlyFor]];
  const signs = flaws.isCa === true ? KeyUsageFlags.keyCertSign : 0;
  return [
    new BasicConstraintsExtension(flaws.isCa === true, undefined, true),
    new KeyUsagesExtension(KeyUsageFlags.digitalSignature | signs, true),
    new ExtendedKeyUsageExtension(extended),
  ];
}

/** A self-signed P-256 root with its key in memory. Two of them do not trust each other. */
export class TestCa {
  /** The root's PEM file. */
  readonly rootFile: string;
  readonly #folder: string;
  readonly #root: X509Certificate;
  readonly #keys: webcrypto.CryptoKeyPair;
  #count = 0;

  private constructor(
    folder: string,
    rootFile: string,
    root: X509Certificate,
    keys: webcrypto.CryptoKeyPair,
  ) {
    this.#folder = folder;
    this.rootFile = rootFile;
    this.#root = root;
    this.#keys = keys;
  }

  /** Writes `<name>.pem` into `folder`, which has to be there. */
  static async create(folder: string, name = 'root'): Promise<TestCa> {
    const keys = await makeKeys();
    const root = await X509CertificateGenerator.createSelfSigned({
      serialNumber: serial(),
      name: `CN=test ${name}`,
      keys,
      signingAlgorithm: algorithm,
      ...validity({}),
      extensions: [
        new BasicConstraintsExtension(true, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
        await SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    });
    const rootFile = join(folder, `${name}.pem`);
    await writeFile(rootFile, root.toString('pem'));
    return new TestCa(folder, rootFile, root, keys);
  }

  /** Issues a leaf for `spiffeId` and writes it into the authority's folder, the key with 0600. */
  async issue(spiffeId: string, flaws: LeafFlaws = {}): Promise<LeafFiles> {
    const keys = await makeKeys();
    const leaf = await X509CertificateGenerator.create({
      serialNumber: serial(),
      issuer: this.#root.subject,
      subject: '',
      publicKey: keys.publicKey,
      signingKey: this.#keys.privateKey,
      signingAlgorithm: algorithm,
      ...validity(flaws),
      extensions: [
        ...keyUsages(flaws),
        new SubjectAlternativeNameExtension(names(spiffeId, flaws), true),
        await SubjectKeyIdentifierExtension.create(keys.publicKey),
        await AuthorityKeyIdentifierExtension.create(this.#keys.publicKey),
      ],
    });
    this.#count += 1;
    const base = `${this.rootFile.slice(this.#folder.length + 1, -'.pem'.length)}-${this.#count}`;
    const files = {
      cert: join(this.#folder, `${base}.crt`),
      key: join(this.#folder, `${base}.key`),
    };
    await writeFile(files.cert, `${leaf.toString('pem')}\n${this.#root.toString('pem')}\n`);
    await writeFile(files.key, await keyPem(keys.privateKey), { mode: 0o600 });
    return files;
  }
}
