// SPDX-License-Identifier: Apache-2.0
// A certificate authority that the user brings: a root or an intermediate of theirs, as PEM files,
// checked to the last rule that would make its leaves useless.
import type { X509Certificate } from 'node:crypto';
import { MeshError } from '../lib/error.ts';
import { checkSigningKey, mayIssue, pathLengthOf, type Signer, signerOf } from './certificate.ts';
import { readPem } from './pem.ts';

/** The files, as the flags name them. */
export interface GivenFiles {
  /** What signs, first; then what stands between it and the root. */
  readonly cert: string;
  readonly key: string;
  /** The root, when it is not the last of `cert`. */
  readonly root: string | undefined;
}

/** An authority that passed all checks. */
export interface GivenAuthority {
  readonly signer: Signer;
  /** What stands between a leaf and the root, the signing certificate first; empty for a root. */
  readonly chain: readonly X509Certificate[];
  readonly root: X509Certificate;
}

function isSelfSigned(certificate: X509Certificate): boolean {
  return certificate.checkIssued(certificate) && certificate.verify(certificate.publicKey);
}

function refuse(certificate: X509Certificate, reason: string): MeshError {
  const subject = certificate.subject?.replaceAll('\n', ', ') ?? '';
  return new MeshError('invalid', `the certificate "${subject}" ${reason}`);
}

function checkOne(certificate: X509Certificate, below: number, now: Date): void {
  if (!mayIssue(certificate)) {
    throw refuse(certificate, 'may not sign others: it needs CA:TRUE and keyCertSign');
  }
  if (pathLengthOf(certificate) < below) {
    throw refuse(certificate, 'allows fewer authorities below it than there are (pathlen)');
  }
  if (certificate.validFromDate > now || certificate.validToDate <= now) {
    const { validFrom, validTo } = certificate;
    throw refuse(certificate, `is not valid now, but from ${validFrom} to ${validTo}`);
  }
  const uris = certificate.subjectAltName?.match(/URI:[^,]*/g) ?? [];
  if (uris.some((uri) => /^URI:spiffe:\/\/[^/]+\/./.test(uri))) {
    throw refuse(certificate, 'has a SPIFFE ID with a path, which no signing certificate may have');
  }
  checkSigningKey(certificate);
}

function checkPath(path: readonly X509Certificate[], now: Date): void {
  for (const [index, certificate] of path.entries()) {
    const issuer = path[index + 1] ?? certificate;
    if (!certificate.checkIssued(issuer) || !certificate.verify(issuer.publicKey)) {
      throw refuse(certificate, 'is not signed by the one that follows it');
    }
    checkOne(certificate, index, now);
  }
}

/**
 * Reads and checks an authority. Throws MeshError `invalid` that says what is wrong: no CA, not
 * allowed to sign, expired, a weak key, a key of another certificate, no way to the root.
 */
export async function readGivenAuthority(files: GivenFiles, now: Date): Promise<GivenAuthority> {
  const { certificates } = await readPem(files.cert);
  const { key } = await readPem(files.key);
  const [signing] = certificates;
  if (signing === undefined || key === undefined) {
    const [path, what] = key === undefined ? [files.key, 'key'] : [files.cert, 'certificate'];
    throw new MeshError('invalid', `${path} holds no ${what}`);
  }
  const chain = certificates.filter((certificate) => !isSelfSigned(certificate));
  const top = chain.at(-1) ?? signing;
  const candidates =
    files.root === undefined
      ? certificates.filter(isSelfSigned)
      : (await readPem(files.root)).certificates;
  const root = candidates.find((one) => isSelfSigned(one) && top.checkIssued(one));
  if (root === undefined) {
    const where = files.root ?? `${files.cert}, and no --ca-root is given`;
    throw new MeshError('invalid', `the root of the chain is not in ${where}`);
  }
  checkPath([...chain, root], now);
  return { signer: signerOf(signing, key), chain, root };
}
