// SPDX-License-Identifier: Apache-2.0
// PEM files (RFC 7468) that hold certificates and at most one private key.
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { MeshError } from '../lib/error.ts';

/** What a PEM file holds, in its order. */
export interface PemContents {
  readonly certificates: readonly X509Certificate[];
  readonly key: KeyObject | undefined;
}

/** Largest file that is read, in bytes, and most certificates in it. */
export const pemBytesMax: number = 64 * 1024;
export const pemCertificatesMax = 16;

const certificatePattern = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;
const keyPattern =
  /-----BEGIN (?:EC |RSA )?PRIVATE KEY-----[\s\S]+?-----END (?:EC |RSA )?PRIVATE KEY-----/g;

function parse(text: string): PemContents {
  const certificates = text.match(certificatePattern) ?? [];
  const [key, ...further] = text.match(keyPattern) ?? [];
  if (certificates.length > pemCertificatesMax || further.length > 0) {
    throw new MeshError('limit', `over ${pemCertificatesMax} certificates, or over one key`);
  }
  return {
    certificates: certificates.map((pem) => new X509Certificate(pem)),
    key: key === undefined ? undefined : createPrivateKey(key),
  };
}

/**
 * Reads a PEM file. Throws MeshError, naming the file: `unavailable` when there is none, `limit`,
 * or `invalid` when what it holds does not parse.
 */
export async function readPem(path: string): Promise<PemContents> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    const { code, message } = MeshError.from(cause);
    throw new MeshError(code, `${path} cannot be read: ${message}`, { cause });
  });
  if (text.length > pemBytesMax) {
    throw new MeshError('limit', `${path} is over ${pemBytesMax} bytes`);
  }
  try {
    return parse(text);
  } catch (cause) {
    const code = cause instanceof MeshError ? cause.code : 'invalid';
    throw new MeshError(code, `${path}: ${MeshError.from(cause).message}`, { cause });
  }
}

/** A certificate in PEM, with the newline at its end. */
export function pemOf(certificate: X509Certificate): string {
  return certificate.toString();
}

/** A private key in PEM (PKCS#8). The text cannot be wiped: it is for files. */
export function keyPemOf(key: KeyObject): string {
  return String(key.export({ format: 'pem', type: 'pkcs8' }));
}
