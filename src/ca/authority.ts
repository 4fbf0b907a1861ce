// SPDX-License-Identifier: Apache-2.0
// The certificate authority of a trust domain: one P-256 root, and the leaves it signs.
import 'reflect-metadata';
import { createPrivateKey, X509Certificate as NodeCertificate, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type JsonGeneralNames,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';
import { MeshError } from '../lib/error.ts';
import { createPrivateFile, ensurePrivateFolder } from '../lib/private-files.ts';
import { formatSpiffeId, type SpiffeId } from '../spiffe/id.ts';

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
}

/** A certificate that was issued. */
export interface IssuedLeaf {
  /** PEM, leaf first, the root last. */
  readonly chainPem: readonly string[];
  readonly serial: string;
  readonly notAfter: Date;
}

/** Shortest and longest validity of a leaf, and what is given when none is asked for. */
export const validitySecondsMin = 60;
export const validitySecondsMax: number = 24 * 3600;
export const validitySecondsDefault: number = 24 * 3600;

/** How far before its issue a certificate becomes valid, for clocks that are behind. */
export const backdateSeconds = 60;

const rootYears = 10;
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const rootFile = 'root.pem';

// Key and certificate are one file, so that no crash leaves one without the other.
const keyPattern = /-----BEGIN PRIVATE KEY-----[\s\S]+?-----END PRIVATE KEY-----\n?/;
const certificatePattern = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----\n?/;

// 127 random bits, positive (RFC 5280 section 4.1.2.2).
function newSerial(): string {
  const bytes = randomBytes(16);
  bytes.writeUInt8((bytes.readUInt8(0) & 0x3f) | 0x40);
  return bytes.toString('hex');
}

async function createRoot(trustDomain: string, now: Date): Promise<string> {
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const notAfter = new Date(now);
  notAfter.setUTCFullYear(now.getUTCFullYear() + rootYears);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerial(),
    name: `O=Weft, CN=${trustDomain} root`,
    keys,
    signingAlgorithm: algorithm,
    notBefore: new Date(now.getTime() - backdateSeconds * 1000),
    notAfter,
    extensions: [
      new BasicConstraintsExtension(true, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
      // A signing certificate's SPIFFE ID has no path (X.509-SVID section 3.2).
      new SubjectAlternativeNameExtension([{ type: 'url', value: `spiffe://${trustDomain}` }]),
    ],
  });
  const pkcs8 = Buffer.from(await crypto.subtle.exportKey('pkcs8', keys.privateKey));
  const key = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
  pkcs8.fill(0);
  return `${key.export({ format: 'pem', type: 'pkcs8' })}${certificate.toString('pem')}\n`;
}

async function readRoot(folder: string): Promise<string> {
  try {
    return await readFile(join(folder, rootFile), 'utf8');
  } catch (cause) {
    const message = `${folder} holds no certificate authority; weft control makes one when it starts`;
    throw new MeshError('unavailable', message, { cause });
  }
}

function certificateIn(text: string, folder: string): X509Certificate {
  const [pem] = certificatePattern.exec(text) ?? [];
  if (pem === undefined) {
    throw new MeshError('invalid', `${join(folder, rootFile)} holds no certificate`);
  }
  return new X509Certificate(pem);
}

function trustDomainOf(root: X509Certificate): string {
  const names = new NodeCertificate(Buffer.from(root.rawData)).subjectAltName ?? '';
  return /^URI:spiffe:\/\/([^/,]+)$/.exec(names)?.[1] ?? '';
}

/** The root certificate of a state folder, and the trust domain that it is for. */
export async function readRootCertificate(
  folder: string,
): Promise<{ readonly der: Uint8Array; readonly trustDomain: string }> {
  const root = certificateIn(await readRoot(folder), folder);
  return { der: new Uint8Array(root.rawData), trustDomain: trustDomainOf(root) };
}

/** A CA with its key in memory. */
export class Authority {
  readonly trustDomain: string;
  readonly rootPem: string;
  readonly #root: X509Certificate;
  readonly #key: CryptoKey;

  private constructor(trustDomain: string, root: X509Certificate, key: CryptoKey) {
    this.trustDomain = trustDomain;
    this.rootPem = `${root.toString('pem')}\n`;
    this.#root = root;
    this.#key = key;
  }

  /**
   * Opens the CA that is kept in `folder`, or makes one there, readable by its owner alone. Throws
   * MeshError `conflict` when the folder's CA is for another trust domain.
   */
  static async open(folder: string, trustDomain: string, now: Date): Promise<Authority> {
    await ensurePrivateFolder(folder);
    try {
      await readRoot(folder);
    } catch {
      // Of several that do this at one time, the file of one stays, and all read that.
      await createPrivateFile(join(folder, rootFile), await createRoot(trustDomain, now));
    }
    const text = await readRoot(folder);
    const root = certificateIn(text, folder);
    if (trustDomainOf(root) !== trustDomain) {
      const message = `${folder} belongs to trust domain ${trustDomainOf(root)}, not ${trustDomain}`;
      throw new MeshError('conflict', message);
    }
    return new Authority(trustDomain, root, await Authority.#keyIn(text, folder));
  }

  static async #keyIn(text: string, folder: string): Promise<CryptoKey> {
    const [pem] = keyPattern.exec(text) ?? [];
    if (pem === undefined) {
      throw new MeshError('invalid', `${join(folder, rootFile)} holds no private key`);
    }
    const pkcs8 = createPrivateKey(pem).export({ format: 'der', type: 'pkcs8' });
    try {
      return await crypto.subtle.importKey('pkcs8', new Uint8Array(pkcs8), algorithm, false, [
        'sign',
      ]);
    } finally {
      pkcs8.fill(0);
    }
  }

  /** Issues a leaf that is an X.509-SVID. The caller has decided that it may have this identity. */
  async issue(order: LeafOrder, now: Date): Promise<IssuedLeaf> {
    if (order.spiffeId.trustDomain !== this.trustDomain || order.spiffeId.path === '') {
      throw new MeshError(
        'invalid',
        'a leaf needs a SPIFFE ID with a path in the own trust domain',
      );
    }
    const asked = order.validitySeconds || validitySecondsDefault;
    const seconds = Math.min(validitySecondsMax, Math.max(validitySecondsMin, asked));
    const end = Math.min(now.getTime() + seconds * 1000, this.#root.notAfter.getTime());
    const names: JsonGeneralNames = [
      { type: 'url', value: formatSpiffeId(order.spiffeId) },
      ...(order.dnsNames ?? []).map((value) => ({ type: 'dns', value }) as const),
      ...(order.ipAddresses ?? []).map((value) => ({ type: 'ip', value }) as const),
    ];
    const leaf = await X509CertificateGenerator.create({
      serialNumber: newSerial(),
      subject: '',
      issuer: this.#root.subjectName.toString(),
      notBefore: new Date(now.getTime() - backdateSeconds * 1000),
      notAfter: new Date(end),
      publicKey: order.publicKey,
      signingKey: this.#key,
      signingAlgorithm: algorithm,
      extensions: [
        new BasicConstraintsExtension(false, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
        new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
        await SubjectKeyIdentifierExtension.create(order.publicKey),
        await AuthorityKeyIdentifierExtension.create(this.#root.publicKey),
        // Critical, because the subject is empty (RFC 5280 section 4.2.1.6).
        new SubjectAlternativeNameExtension(names, true),
      ],
    });
    return {
      chainPem: [`${leaf.toString('pem')}\n`, this.rootPem],
      serial: leaf.serialNumber,
      notAfter: leaf.notAfter,
    };
  }
}
