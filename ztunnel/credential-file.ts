// SPDX-License-Identifier: Apache-2.0
// Keys with their certificates on disk: one file each, so that they always belong together.
import {
  chmodSync,
  closeSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import type { IssuedCertificate } from '../src/ca/client.ts';
import { MeshError } from '../src/lib/error.ts';

/** Largest credential file that is read, in bytes. */
export const credentialBytesMax: number = 64 * 1024;

const base64 = z.base64().transform((text) => new Uint8Array(Buffer.from(text, 'base64')));
const schema = z.strictObject({
  version: z.literal(1),
  spiffeId: z.string(),
  chain: z.array(base64).min(1).max(16),
  key: base64,
  roots: z.array(base64).min(1).max(16),
  notBefore: z.iso.datetime().transform((text) => new Date(text)),
  notAfter: z.iso.datetime().transform((text) => new Date(text)),
});

function pathIn(stateDir: string): string {
  return join(stateDir, 'node-credential.json');
}

function base64Of(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}

/**
 * Throws MeshError `denied` when others than its owner can read or replace an open file, or the
 * owner is not us, and `limit` when it is too large.
 */
export function checkOwner(file: number, path: string, bytesMax: number): void {
  const { mode, uid, size } = fstatSync(file);
  if ((mode & 0o077) !== 0 || uid !== process.getuid?.()) {
    throw new MeshError('denied', `${path} is open to others than its owner`);
  }
  if (size > bytesMax) {
    throw new MeshError('limit', `${path} is over ${bytesMax} bytes`);
  }
}

/** Makes the folder if need be, and closes it (0700) to everybody else. */
export function prepareStateDir(stateDir: string): void {
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  chmodSync(stateDir, 0o700);
}

/** Writes a credential (0600), in one step: a crash leaves the old one or the new one. */
export function writeCredential(path: string, credential: IssuedCertificate): void {
  const fresh = `${path}.new`;
  const file = openSync(fresh, 'w', 0o600);
  try {
    const text = JSON.stringify({
      version: 1,
      spiffeId: credential.spiffeId,
      chain: credential.chain.map(base64Of),
      key: base64Of(credential.key),
      roots: credential.roots.map(base64Of),
      notBefore: credential.notBefore.toISOString(),
      notAfter: credential.notAfter.toISOString(),
    });
    writeSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(fresh, path);
}

/**
 * Reads a credential back; undefined when there is none. Throws MeshError `denied` when others may
 * read it, `limit` or `invalid` when it is not a credential (fail-closed: it is not used).
 */
export function readCredential(path: string): IssuedCertificate | undefined {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      return undefined;
    }
    throw MeshError.from(error);
  }
  try {
    checkOwner(file, path, credentialBytesMax);
    const { version: _version, ...credential } = schema.parse(
      JSON.parse(readFileSync(file, 'utf8')),
    );
    return credential;
  } catch (error) {
    if (error instanceof MeshError) {
      throw error;
    }
    throw new MeshError('invalid', `${path} is not a credential`, { cause: error });
  } finally {
    closeSync(file);
  }
}

/** Writes the node's credential into its state folder. */
export function saveCredential(stateDir: string, credential: IssuedCertificate): void {
  prepareStateDir(stateDir);
  writeCredential(pathIn(stateDir), credential);
}

/** Reads the node's credential back, as `readCredential` does. */
export function loadCredential(stateDir: string): IssuedCertificate | undefined {
  return readCredential(pathIn(stateDir));
}
