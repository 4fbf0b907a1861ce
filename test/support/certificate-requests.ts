// SPDX-License-Identifier: Apache-2.0
// Certificate requests, right ones and wrong ones.
import 'reflect-metadata';
import type { webcrypto } from 'node:crypto';
import {
  type JsonGeneralNames,
  Pkcs10CertificateRequestGenerator,
  SubjectAlternativeNameExtension,
} from '@peculiar/x509';

const keyKinds = {
  p256: { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
  p384: { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' },
  rsa1024: {
    name: 'RSASSA-PKCS1-v1_5',
    hash: 'SHA-256',
    modulusLength: 1024,
    publicExponent: new Uint8Array([1, 0, 1]),
  },
  ed25519: { name: 'Ed25519' },
} as const;

/** A kind of key that a request can be for. */
export type KeyKind = 'p256' | 'p384' | 'rsa1024' | 'ed25519';

/** A request and the key behind it, both PEM. */
export interface MadeRequest {
  readonly csrPem: string;
  readonly keyPem: string;
}

function pem(label: string, der: ArrayBuffer): string {
  const base64 = Buffer.from(der)
    .toString('base64')
    .replace(/(.{64})/g, '$1\n')
    .trim();
  return `-----BEGIN ${label}-----\n${base64}\n-----END ${label}-----\n`;
}

/** Makes a request for these names with a fresh key. */
export async function makeRequest(
  names: string | JsonGeneralNames,
  kind: KeyKind = 'p256',
): Promise<MadeRequest> {
  const algorithm = keyKinds[kind];
  const keys = (await crypto.subtle.generateKey(algorithm, true, [
    'sign',
    'verify',
  ])) as webcrypto.CryptoKeyPair;
  const list: JsonGeneralNames =
    typeof names === 'string' ? [{ type: 'url', value: names }] : names;
  const request = await Pkcs10CertificateRequestGenerator.create({
    keys,
    signingAlgorithm: algorithm,
    extensions: [new SubjectAlternativeNameExtension(list, true)],
  });
  const pkcs8 = await crypto.subtle.exportKey('pkcs8', keys.privateKey);
  return { csrPem: request.toString('pem'), keyPem: pem('PRIVATE KEY', pkcs8) };
}
