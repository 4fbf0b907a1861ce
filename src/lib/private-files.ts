// SPDX-License-Identifier: Apache-2.0
// Folders and files that only their owner may read, written so that a crash leaves the old
// content or the new one.
import { randomUUID } from 'node:crypto';
import { chmod, link, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { MeshError } from './error.ts';

/** Makes a folder with mode 0700, with its parents, or takes the rights of others away. */
export async function ensurePrivateFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  const { mode } = await stat(path);
  if ((mode & 0o077) !== 0) {
    await chmod(path, 0o700);
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function writeBeside(path: string, data: string | Uint8Array): Promise<string> {
  const fresh = `${path}.${randomUUID()}`;
  const file = await open(fresh, 'wx', 0o600);
  try {
    await file.writeFile(data);
    await file.sync();
  } finally {
    await file.close();
  }
  return fresh;
}

/** Writes a file with mode 0600, whole or not at all, over what was there. */
export async function writePrivateFile(path: string, data: string | Uint8Array): Promise<void> {
  await rename(await writeBeside(path, data), path);
  await syncFolder(dirname(path));
}

/**
 * Writes a file with mode 0600 if there is none. False when there is one already, which is then
 * left alone: of several that try at one time, exactly one succeeds.
 */
export async function createPrivateFile(path: string, data: string | Uint8Array): Promise<boolean> {
  const fresh = await writeBeside(path, data);
  try {
    await link(fresh, path);
    await syncFolder(dirname(path));
    return true;
  } catch (thrown) {
    const error = MeshError.from(thrown);
    if (error.code === 'conflict') {
      return false;
    }
    throw error;
  } finally {
    await rm(fresh, { force: true });
  }
}
