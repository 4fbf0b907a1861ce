// SPDX-License-Identifier: Apache-2.0
// One generation of the certificate authority: a root and what signs under it, in two files. The
// root's own key is used only to renew what signs, so its file may lie elsewhere in between.
import {
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  type X509Certificate,
} from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { MeshError } from '../lib/error.ts';
import { writePrivateFile } from '../lib/private-files.ts';
import { backdateSeconds, type Signer, signAuthority, signerOf } from './certificate.ts';
import type { GivenAuthority } from './given-authority.ts';
import { keyPemOf, pemOf, readPem } from './pem.ts';

/** Who made a generation: the control plane itself, or the user, by files. */
export type GenerationKind = 'own' | 'given';

/** How a generation is named in the trust record. */
export interface GenerationName {
  readonly id: string;
  readonly kind: GenerationKind;
}

/** A generation that can sign. */
export interface Generation extends GenerationName {
  readonly root: X509Certificate;
  readonly signer: Signer;
  /** What stands between a leaf and the root, the signing certificate first. */
  readonly chain: readonly X509Certificate[];
}

/** Life of a root and of what signs under it. */
export const rootYears = 10;
export const intermediateDays = 90;

const dayMs = 86_400_000;

function rootPath(folder: string, id: string): string {
  return join(folder, `root-${id}.pem`);
}

function signingPath(folder: string, id: string): string {
  return join(folder, `signing-${id}.pem`);
}

function newKey(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
}

function newIntermediate(id: string, trustDomain: string, root: Signer, now: Date): Signer {
  const end = Math.min(
    now.getTime() + intermediateDays * dayMs,
    root.certificate.validToDate.getTime(),
  );
  const template = {
    commonName: `Weft intermediate ${id}-${randomBytes(4).toString('hex')}`,
    key: newKey(),
    uri: `spiffe://${trustDomain}`,
    pathLength: 0,
    notBefore: new Date(now.getTime() - backdateSeconds * 1000),
    notAfter: new Date(end),
  };
  return signAuthority(template, root);
}

async function saveSigner(
  folder: string,
  { id, signer, chain }: Pick<Generation, 'id' | 'signer' | 'chain'>,
): Promise<void> {
  // A root that signs leaves itself has no chain; its certificate is in the root's file.
  const certificates = chain.map(pemOf).join('');
  await writePrivateFile(signingPath(folder, id), `${keyPemOf(signer.key)}${certificates}`);
}

/** Makes a generation of our own and writes its files (0600). */
export async function makeGeneration(
  folder: string,
  trustDomain: string,
  now: Date,
): Promise<Generation> {
  const id = randomBytes(4).toString('hex');
  const notAfter = new Date(now);
  notAfter.setUTCFullYear(now.getUTCFullYear() + rootYears);
  const root = signAuthority({
    // Roots of one trust domain have different names, so that a path to one never tries another.
    commonName: `Weft root ${id}`,
    key: newKey(),
    uri: `spiffe://${trustDomain}`,
    notBefore: new Date(now.getTime() - backdateSeconds * 1000),
    notAfter,
  });
  const signer = newIntermediate(id, trustDomain, root, now);
  const made: Generation = {
    id,
    kind: 'own',
    root: root.certificate,
    signer,
    chain: [signer.certificate],
  };
  const text = `${keyPemOf(root.key)}${pemOf(root.certificate)}`;
  await writePrivateFile(rootPath(folder, id), text);
  await saveSigner(folder, made);
  return made;
}

/** Keeps a copy of an authority of the user, so that it can sign until another took its place. */
export async function keepGiven(folder: string, given: GivenAuthority): Promise<Generation> {
  const id = randomBytes(4).toString('hex');
  const kept: Generation = { id, kind: 'given', ...given };
  await writePrivateFile(rootPath(folder, id), pemOf(given.root));
  await saveSigner(folder, kept);
  return kept;
}

/** Reads a generation back. Throws MeshError when a file is missing or wrong. */
export async function readGeneration(
  folder: string,
  { id, kind }: GenerationName,
): Promise<Generation> {
  const [root] = (await readPem(rootPath(folder, id))).certificates;
  const { certificates: chain, key } = await readPem(signingPath(folder, id));
  if (root === undefined || key === undefined) {
    const path = root === undefined ? rootPath(folder, id) : signingPath(folder, id);
    throw new MeshError(
      'invalid',
      `${path} lacks its ${root === undefined ? 'certificate' : 'key'}`,
    );
  }
  const signer = signerOf(chain[0] ?? root, key);
  const issuer = chain[1] ?? root;
  if (chain[0]?.verify(issuer.publicKey) === false) {
    throw new MeshError('invalid', `${signingPath(folder, id)} is not of ${rootPath(folder, id)}`);
  }
  return { id, kind, root, signer, chain };
}

/** The root certificate of a generation alone. */
export async function readRoot(folder: string, id: string): Promise<X509Certificate> {
  const [root] = (await readPem(rootPath(folder, id))).certificates;
  if (root === undefined) {
    throw new MeshError('invalid', `${rootPath(folder, id)} holds no certificate`);
  }
  return root;
}

/** When what signs should be renewed: half way through its life. */
export function renewalOf({ signer }: Generation): Date {
  const { validFromDate, validToDate } = signer.certificate;
  return new Date((validFromDate.getTime() + validToDate.getTime()) / 2);
}

/**
 * Gives a generation of our own a fresh intermediate, with a fresh key. Throws MeshError
 * `unavailable` when the root's key is not in the folder now, and `unsupported` for one of the
 * user's.
 */
export async function renewGeneration(
  folder: string,
  trustDomain: string,
  generation: Generation,
  now: Date,
): Promise<Generation> {
  const { id, kind, root } = generation;
  if (kind === 'given') {
    throw new MeshError('unsupported', 'the certificate authority is renewed by who gave it');
  }
  const { key } = await readPem(rootPath(folder, id));
  if (key === undefined) {
    throw new MeshError('unavailable', `the root's key is not in ${rootPath(folder, id)}`);
  }
  const signer = newIntermediate(id, trustDomain, signerOf(root, key), now);
  const renewed: Generation = { ...generation, signer, chain: [signer.certificate] };
  await saveSigner(folder, renewed);
  return renewed;
}

/** Removes the files of a generation, keys and all. */
export async function removeGeneration(folder: string, id: string): Promise<void> {
  await rm(signingPath(folder, id), { force: true });
  await rm(rootPath(folder, id), { force: true });
}
