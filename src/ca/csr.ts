// SPDX-License-Identifier: Apache-2.0
// Certificate requests from the network: parsed, proved and cut down to what a CA may believe.
import 'reflect-metadata';
import {
  PemConverter,
  Pkcs10CertificateRequest,
  SubjectAlternativeNameExtension,
} from '@peculiar/x509';
import { MeshError, type Result } from '../lib/error.ts';
import { parseSpiffeId, type SpiffeId } from '../spiffe/id.ts';
import { isDer } from './der.ts';

/** What is left of a request: a key whose holder asked for this identity. */
export interface ProvenRequest {
  /** P-256. */
  readonly publicKey: CryptoKey;
  readonly spiffeId: SpiffeId;
}

/** Longest PEM that is taken. A P-256 request has about 500 bytes. */
export const csrBytesMax: number = 16 * 1024;

const sanOid = '2.5.29.17';
const extensionRequestOid = '1.2.840.113549.1.9.14';
const curve = 'P-256';

function refuse(reason: string, cause?: unknown): MeshError {
  return new MeshError('invalid', `certificate request: ${reason}`, { cause });
}

function decode(pem: string): Pkcs10CertificateRequest {
  if (pem.length > csrBytesMax) {
    throw refuse(`longer than ${csrBytesMax} bytes`);
  }
  const blocks = PemConverter.decodeWithHeaders(pem);
  const [block] = blocks;
  if (blocks.length !== 1 || block?.type !== PemConverter.CertificateRequestTag) {
    throw refuse('not one PEM block of a certificate request');
  }
  if (!isDer(new Uint8Array(block.rawData))) {
    throw refuse('not DER');
  }
  return new Pkcs10CertificateRequest(block.rawData);
}

// Exactly one name in exactly one SAN extension, and it is a SPIFFE ID.
function spiffeIdIn(csr: Pkcs10CertificateRequest): SpiffeId {
  const requests = csr.getAttributes(extensionRequestOid).flatMap(({ values }) => values);
  const sans = csr.extensions.filter(({ type }) => type === sanOid);
  const [san] = sans;
  if (requests.length !== 1 || sans.length !== 1 || san === undefined) {
    throw refuse('not exactly one subject alternative name extension');
  }
  if (!isDer(new Uint8Array(san.value))) {
    throw refuse('the subject alternative name is not DER');
  }
  const names = new SubjectAlternativeNameExtension(san.rawData).names.items;
  const [name] = names;
  if (names.length !== 1 || name?.type !== 'url') {
    throw refuse('the only subject alternative name must be a SPIFFE ID');
  }
  const id = parseSpiffeId(name.value);
  if (!id.ok) {
    throw refuse(id.error.message);
  }
  return id.value;
}

async function keyIn(csr: Pkcs10CertificateRequest): Promise<CryptoKey> {
  const algorithm = csr.publicKey.algorithm as { name: string; namedCurve?: string };
  if (algorithm.name !== 'ECDSA' || algorithm.namedCurve !== curve) {
    throw refuse('the key is not P-256');
  }
  if (csr.signatureAlgorithm.hash.name === 'SHA-1') {
    throw refuse('signed with SHA-1');
  }
  const own = { name: 'ECDSA', namedCurve: curve, hash: 'SHA-256' };
  return await csr.publicKey.export(own, ['verify']);
}

/**
 * Parses a PKCS#10 request in PEM from the network. It passes with a P-256 key, a signature by
 * that key (proof of possession) and one SPIFFE ID as its only name. Subject and all other
 * extensions are ignored: they never reach a certificate.
 */
export async function parseCsr(pem: string): Promise<Result<ProvenRequest>> {
  try {
    const csr = decode(pem);
    const publicKey = await keyIn(csr);
    const spiffeId = spiffeIdIn(csr);
    if (!(await csr.verify())) {
      throw refuse('the signature is not by its key');
    }
    return { ok: true, value: { publicKey, spiffeId } };
  } catch (thrown) {
    const error = thrown instanceof MeshError ? thrown : refuse('not PKCS#10', thrown);
    return { ok: false, error };
  }
}
