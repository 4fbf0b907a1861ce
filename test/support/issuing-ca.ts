// SPDX-License-Identifier: Apache-2.0
// A small certificate authority for tests of those who ask one. It issues what it is told to, also
// what no authority should.
import 'reflect-metadata';
import { createHash, type webcrypto } from 'node:crypto';
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type JsonGeneralName,
  KeyUsageFlags,
  KeyUsagesExtension,
  Pkcs10CertificateRequest,
  SubjectAlternativeNameExtension,
  type X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';

// id-ce-subjectAltName
const subjectAltName = '2.5.29.17';
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

/** One certificate to issue. Times are offsets from now, in milliseconds. */
export interface Leaf {
  readonly publicKey: CryptoKey | Pkcs10CertificateRequest['publicKey'];
  readonly names: JsonGeneralName[];
  readonly notBeforeMs?: number;
  readonly notAfterMs?: number;
}

/** A key pair that a TLS server of a test can use. */
export interface ServerCertificate {
  readonly chainPem: string;
  readonly keyPem: string;
}

async function makeKeys(): Promise<webcrypto.CryptoKeyPair> {
  return await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
}

/** A root of its own with its key. */
export class IssuingCa {
  readonly root: X509Certificate;
  readonly #keys: webcrypto.CryptoKeyPair;

  private constructor(root: X509Certificate, keys: webcrypto.CryptoKeyPair) {
    this.root = root;
    this.#keys = keys;
  }

  static async create(name = 'CN=test root'): Promise<IssuingCa> {
    const keys = await makeKeys();
    const root = await X509CertificateGenerator.createSelfSigned({
      name,
      keys,
      signingAlgorithm: algorithm,
      notBefore: new Date(Date.now() - 60_000),
      notAfter: new Date(Date.now() + 86_400_000),
      extensions: [
        new BasicConstraintsExtension(true, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      ],
    });
    return new IssuingCa(root, keys);
  }

  get rootPem(): string {
    return this.root.toString('pem');
  }

  /** Hex SHA-256 of the root's DER, as a join token carries it. */
  get rootSha256(): string {
    return createHash('sha256').update(Buffer.from(this.root.rawData)).digest('hex');
  }

  async issue(leaf: Leaf): Promise<X509Certificate> {
    return await X509CertificateGenerator.create({
      subject: '',
      issuer: this.root.subject,
      publicKey: leaf.publicKey,
      signingKey: this.#keys.privateKey,
      signingAlgorithm: algorithm,
      notBefore: new Date(Date.now() + (leaf.notBeforeMs ?? -60_000)),
      notAfter: new Date(Date.now() + (leaf.notAfterMs ?? 3_600_000)),
      extensions: [
        new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
        new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
        new SubjectAlternativeNameExtension(leaf.names, true),
      ],
    });
  }

  /** Issues for the key and the names of a CSR in PEM. */
  async issueFor(csrPem: string, change: Partial<Leaf> = {}): Promise<X509Certificate> {
    const csr = new Pkcs10CertificateRequest(csrPem);
    const san = csr.getExtension(subjectAltName);
    const names = san instanceof SubjectAlternativeNameExtension ? san.names.toJSON() : [];
    return await this.issue({ publicKey: csr.publicKey, names, ...change });
  }

  /** A certificate for a server of a test at localhost, 127.0.0.1 and ::1. */
  async serverCertificate(): Promise<ServerCertificate> {
    const keys = await makeKeys();
    const leaf = await this.issue({
      publicKey: keys.publicKey,
      names: [
        { type: 'dns', value: 'localhost' },
        { type: 'ip', value: '127.0.0.1' },
        { type: 'ip', value: '::1' },
      ],
    });
    const pkcs8 = Buffer.from(await crypto.subtle.exportKey('pkcs8', keys.privateKey));
    const keyPem = `-----BEGIN PRIVATE KEY-----\n${pkcs8.toString('base64')}\n-----END PRIVATE KEY-----\n`;
    return { chainPem: `${leaf.toString('pem')}\n${this.rootPem}`, keyPem };
  }
}
