// SPDX-License-Identifier: Apache-2.0
// The keys and certificates of local identities, in a folder in memory: they survive the process,
// not the machine, and a disk never has them.
import { createHash } from 'node:crypto';
import {
  closeSync,
  fstatSync,
  openSync,
  readdirSync,
  statfsSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import type { IssuedCertificate } from '../src/ca/client.ts';
import { MeshError } from '../src/lib/error.ts';
import type { Logger } from '../src/lib/log.ts';
import { prepareStateDir, readCredential, writeCredential } from './credential-file.ts';

/** What keeps keys between two runs. */
export interface KeyStore {
  /** The credential of an identity; undefined when there is none that can be used now. */
  load(spiffeId: string): IssuedCertificate | undefined;
  save(credential: IssuedCertificate): void;
  /** Wipes the credential of an identity. */
  remove(spiffeId: string): void;
  /** Wipes everything but the credentials of these identities. */
  keepOnly(spiffeIds: ReadonlySet<string>): void;
}

/** How far in the future a certificate may begin: the clocks of a mesh differ by no more. */
export const clockSkewMs = 30_000;

// TMPFS_MAGIC and RAMFS_MAGIC (linux/magic.h).
const memoryFileSystems: ReadonlySet<number> = new Set([0x01021994, 0x858458f6]);

function nameOf(spiffeId: string): string {
  return `${createHash('sha256').update(spiffeId).digest('hex')}.json`;
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

// In a file system in memory the pages are the key's last copy, so they are overwritten.
function wipe(path: string): void {
  try {
    const file = openSync(path, 'r+');
    try {
      writeSync(file, new Uint8Array(fstatSync(file).size), 0);
    } finally {
      closeSync(file);
    }
    unlinkSync(path);
  } catch (error) {
    if (!isMissing(error)) {
      throw MeshError.from(error);
    }
  }
}

/** A folder of keys. Main thread only. */
export class KeyFolder implements KeyStore {
  readonly #folder: string;
  readonly #log: Logger;

  /**
   * Opens the folder (0700), or makes it. Throws MeshError `unsupported` when it is on a disk:
   * what was written there can be read after it was removed.
   */
  constructor(folder: string, log: Logger) {
    prepareStateDir(folder);
    if (!memoryFileSystems.has(statfsSync(folder).type)) {
      const message = `${folder} is not on tmpfs: name a folder for keys that is (--keys)`;
      throw new MeshError('unsupported', message);
    }
    this.#folder = folder;
    this.#log = log;
  }

  load(spiffeId: string): IssuedCertificate | undefined {
    const path = join(this.#folder, nameOf(spiffeId));
    try {
      const found = readCredential(path);
      if (found === undefined || this.#usable(found, spiffeId)) {
        return found;
      }
      found.key.fill(0);
    } catch (error) {
      const { message } = MeshError.from(error);
      this.#log.warn({ identity: spiffeId, reason: message }, 'saved certificate not used');
    }
    wipe(path);
    return undefined;
  }

  #usable({ spiffeId, notBefore, notAfter }: IssuedCertificate, asked: string): boolean {
    const now = Date.now();
    const good = notBefore.getTime() <= now + clockSkewMs && notAfter.getTime() > now;
    if (spiffeId === asked && good) {
      return true;
    }
    const reason = good ? `it is for ${spiffeId}` : 'it is not valid now';
    this.#log.warn({ identity: asked, reason, notBefore, notAfter }, 'saved certificate not used');
    return false;
  }

  // Without the file the process goes on; only its successor has to ask for a certificate anew.
  save(credential: IssuedCertificate): void {
    const { spiffeId } = credential;
    try {
      writeCredential(join(this.#folder, nameOf(spiffeId)), credential);
    } catch (error) {
      const { message } = MeshError.from(error);
      this.#log.error({ identity: spiffeId, reason: message }, 'certificate not saved');
    }
  }

  remove(spiffeId: string): void {
    wipe(join(this.#folder, nameOf(spiffeId)));
  }

  keepOnly(spiffeIds: ReadonlySet<string>): void {
    const names = new Set([...spiffeIds].map(nameOf));
    for (const name of readdirSync(this.#folder)) {
      if (!names.has(name)) {
        wipe(join(this.#folder, name));
      }
    }
  }
}
