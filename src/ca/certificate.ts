// SPDX-License-Identifier: Apache-2.0
// Writes and signs X.509 certificates. By hand, because that is 70 times faster than a general
// library, and every node's renewal passes here.
import {
  createHash,
  createPublicKey,
  type KeyObject,
  randomBytes,
  sign,
  X509Certificate,
} from 'node:crypto';
import { MeshError } from '../lib/error.ts';
import { parseIp } from '../lib/ip.ts';
import {
  bitString,
  contentOf,
  context,
  derNull,
  derTrue,
  integer,
  itemsOf,
  octetString,
  oid,
  sequence,
  set,
  time,
  utf8String,
} from './der.ts';

/** How far before its issue a certificate becomes valid, for clocks that are behind. */
export const backdateSeconds = 60;

/** Least bits of an RSA key that signs. */
export const rsaBitsMin = 2048;

/** How a key signs: AlgorithmIdentifier in DER, and Node's name of the hash. */
export interface SignatureKind {
  readonly algorithm: Buffer;
  readonly hash: string;
}

/** What signs: a certificate of an authority with its private key. Made by `signerOf`. */
export interface Signer extends SignatureKind {
  readonly certificate: X509Certificate;
  readonly key: KeyObject;
  /** The Name that goes into what it signs as issuer, in DER. */
  readonly subject: Buffer;
  readonly keyId: Buffer;
}

/** A validity; seconds are cut off, since certificates do not have less. */
export interface Validity {
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** What a leaf names. The SPIFFE ID is one URI, the others are for servers reached by them. */
export interface LeafNames {
  readonly uri: string;
  readonly dnsNames?: readonly string[];
  readonly ipAddresses?: readonly string[];
}

/** A leaf to sign. */
export interface LeafTemplate extends Validity {
  /** SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  readonly names: LeafNames;
}

/** An authority to make. */
export interface AuthorityTemplate extends Validity {
  readonly commonName: string;
  /** The private key of the new authority. */
  readonly key: KeyObject;
  /** Without a path, which is what marks the holder as no workload (X.509-SVID section 3.2). */
  readonly uri: string;
  /** How many authorities may stand between it and a leaf; undefined: any number. */
  readonly pathLength?: number;
}

const oids = {
  organization: oid('2.5.4.10'),
  commonName: oid('2.5.4.3'),
  subjectKeyId: oid('2.5.29.14'),
  keyUsage: oid('2.5.29.15'),
  subjectAltName: oid('2.5.29.17'),
  basicConstraints: oid('2.5.29.19'),
  authorityKeyId: oid('2.5.29.35'),
  extendedKeyUsage: oid('2.5.29.37'),
  serverAuth: oid('1.3.6.1.5.5.7.3.1'),
  clientAuth: oid('1.3.6.1.5.5.7.3.2'),
} as const;

// Fields of TBSCertificate, counted behind the version, which every v3 certificate has.
const tbsSubject = 4;
const tbsKey = 5;
const tagExtensions = 0xa3;

const kinds: ReadonlyMap<string, SignatureKind> = new Map([
  ['prime256v1', { algorithm: sequence(oid('1.2.840.10045.4.3.2')), hash: 'sha256' }],
  ['secp384r1', { algorithm: sequence(oid('1.2.840.10045.4.3.3')), hash: 'sha384' }],
  ['rsa', { algorithm: sequence(oid('1.2.840.113549.1.1.11'), derNull), hash: 'sha256' }],
]);

function signatureKindOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): SignatureKind {
  const strongRsa =
    asymmetricKeyType === 'rsa' && (asymmetricKeyDetails?.modulusLength ?? 0) >= rsaBitsMin;
  const curve = asymmetricKeyType === 'ec' ? asymmetricKeyDetails?.namedCurve : undefined;
  const kind = kinds.get(strongRsa ? 'rsa' : (curve ?? ''));
  if (kind === undefined) {
    throw new MeshError('invalid', `the key is not P-256, P-384 or RSA of ${rsaBitsMin} bits`);
  }
  return kind;
}

function tbsOf(certificate: X509Certificate): Buffer[] {
  const [tbs] = itemsOf(certificate.raw);
  return itemsOf(tbs ?? sequence()).slice(1);
}

function isInteger(item: Uint8Array): boolean {
  return item[0] === 0x02;
}

/** The bytes of an extension's value; undefined when the certificate has none of this kind. */
function extensionOf(certificate: X509Certificate, id: Buffer): Buffer | undefined {
  const field = tbsOf(certificate).find((item) => item[0] === tagExtensions);
  const [list] = field === undefined ? [] : itemsOf(field);
  const found = itemsOf(list ?? sequence()).find((item) => itemsOf(item)[0]?.equals(id) === true);
  const value = found === undefined ? undefined : itemsOf(found).at(-1);
  return value === undefined ? undefined : contentOf(value);
}

// RFC 7093 section 2, method 1: the leftmost 160 bits of SHA-256 over the key's bits.
function newKeyId(spki: Uint8Array): Buffer {
  const bits = contentOf(itemsOf(spki)[1] ?? bitString(Buffer.alloc(0))).subarray(1);
  return createHash('sha256').update(bits).digest().subarray(0, 20);
}

/**
 * A signer from its certificate and key. Throws MeshError `invalid` when they do not belong
 * together, or the key is of a kind that may not sign.
 */
export function signerOf(certificate: X509Certificate, key: KeyObject): Signer {
  const kind = signatureKindOf(key);
  if (!certificate.checkPrivateKey(key)) {
    throw new MeshError('invalid', 'the key does not belong to the certificate');
  }
  const tbs = tbsOf(certificate);
  const own = extensionOf(certificate, oids.subjectKeyId);
  return {
    certificate,
    key,
    subject: tbs[tbsSubject] ?? sequence(),
    keyId: own === undefined ? newKeyId(tbs[tbsKey] ?? sequence()) : contentOf(own),
    ...kind,
  };
}

/** Whether a certificate may sign others: CA:TRUE, and keyCertSign. */
export function mayIssue(certificate: X509Certificate): boolean {
  const usage = extensionOf(certificate, oids.keyUsage);
  // Without the extension every use is allowed (RFC 5280 section 4.2.1.3).
  const bits = usage === undefined ? keyCertSign : (contentOf(usage)[1] ?? 0);
  return certificate.ca && (bits & keyCertSign) !== 0;
}

/** How many authorities may stand between a CA certificate and a leaf; Infinity without a limit. */
export function pathLengthOf(certificate: X509Certificate): number {
  const constraints = extensionOf(certificate, oids.basicConstraints);
  const limit = constraints === undefined ? undefined : itemsOf(constraints).find(isInteger);
  return limit === undefined ? Number.POSITIVE_INFINITY : contentOf(limit).readUIntBE(0, 1);
}

/** Throws MeshError `invalid` unless the public key is of a kind that may sign. */
export function checkSigningKey(certificate: X509Certificate): void {
  signatureKindOf(certificate.publicKey);
}

const digitalSignature = 0x80;
const keyCertSign = 0x04;
const cRLSign = 0x02;

function extension(id: Buffer, critical: boolean, value: Buffer): Buffer {
  return sequence(id, ...(critical ? [derTrue] : []), octetString(value));
}

function keyIds(spki: Uint8Array, issuerKeyId: Uint8Array): Buffer[] {
  const authority = sequence(context(0, 'primitive', issuerKeyId));
  return [
    extension(oids.subjectKeyId, false, octetString(newKeyId(spki))),
    extension(oids.authorityKeyId, false, authority),
  ];
}

// GeneralName: dNSName [2], uniformResourceIdentifier [6], iPAddress [7].
function generalNames({ uri, dnsNames = [], ipAddresses = [] }: LeafNames): Buffer {
  const addresses = ipAddresses.map((text) => {
    const bytes = parseIp(text);
    if (bytes === undefined) {
      throw new MeshError('invalid', `${text} is not an IP address`);
    }
    return context(7, 'primitive', bytes);
  });
  return sequence(
    context(6, 'primitive', Buffer.from(uri, 'latin1')),
    ...dnsNames.map((name) => context(2, 'primitive', Buffer.from(name, 'latin1'))),
    ...addresses,
  );
}

function leafExtensions({ spki, names }: LeafTemplate, issuer: Signer): Buffer[] {
  return [
    extension(oids.basicConstraints, true, sequence()),
    extension(oids.keyUsage, true, bitString(Buffer.of(digitalSignature), 7)),
    extension(oids.extendedKeyUsage, false, sequence(oids.serverAuth, oids.clientAuth)),
    ...keyIds(spki, issuer.keyId),
    // Critical, because the subject is empty (RFC 5280 section 4.2.1.6).
    extension(oids.subjectAltName, true, generalNames(names)),
  ];
}

function authorityExtensions(template: AuthorityTemplate, spki: Buffer, keyId: Buffer): Buffer[] {
  const { pathLength, uri } = template;
  const limit = pathLength === undefined ? [] : [integer(Buffer.of(pathLength))];
  return [
    extension(oids.basicConstraints, true, sequence(derTrue, ...limit)),
    extension(oids.keyUsage, true, bitString(Buffer.of(keyCertSign | cRLSign), 1)),
    ...keyIds(spki, keyId),
    extension(oids.subjectAltName, false, generalNames({ uri })),
  ];
}

// 126 random bits behind a first bit that keeps it positive and long (RFC 5280 section 4.1.2.2).
function newSerial(): Buffer {
  const bytes = randomBytes(16);
  bytes.writeUInt8((bytes.readUInt8(0) & 0x3f) | 0x40);
  return bytes;
}

interface Body extends Validity {
  readonly issuer: Buffer;
  readonly subject: Buffer;
  readonly spki: Uint8Array;
  readonly extensions: readonly Buffer[];
}

function signed(body: Body, key: KeyObject, { algorithm, hash }: SignatureKind): X509Certificate {
  const tbs = sequence(
    context(0, 'constructed', integer(Buffer.of(2))), // version 3
    integer(newSerial()),
    algorithm,
    body.issuer,
    sequence(time(body.notBefore), time(body.notAfter)),
    body.subject,
    body.spki,
    context(3, 'constructed', sequence(...body.extensions)),
  );
  return new X509Certificate(sequence(tbs, algorithm, bitString(sign(hash, tbs, key))));
}

/** Signs a leaf, an X.509-SVID. */
export function signLeaf(template: LeafTemplate, issuer: Signer): X509Certificate {
  const extensions = leafExtensions(template, issuer);
  const { spki, notBefore, notAfter } = template;
  const body = { issuer: issuer.subject, subject: sequence(), spki, notBefore, notAfter };
  return signed({ ...body, extensions }, issuer.key, issuer);
}

function nameOf(commonName: string): Buffer {
  return sequence(
    set(sequence(oids.organization, utf8String('Weft'))),
    set(sequence(oids.commonName, utf8String(commonName))),
  );
}

/**
 * Makes an authority: signed by `issuer`, or a root, by its own key, when there is none. Throws
 * MeshError `invalid` for a key of a kind that may not sign.
 */
export function signAuthority(template: AuthorityTemplate, issuer?: Signer): Signer {
  const { commonName, key, notBefore, notAfter } = template;
  const kind = issuer ?? signatureKindOf(key);
  const spki = createPublicKey(key).export({ format: 'der', type: 'spki' });
  const subject = nameOf(commonName);
  const extensions = authorityExtensions(template, spki, issuer?.keyId ?? newKeyId(spki));
  const body = { issuer: issuer?.subject ?? subject, subject, spki, notBefore, notAfter };
  return signerOf(signed({ ...body, extensions }, issuer?.key ?? key, kind), key);
}
