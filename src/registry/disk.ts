// SPDX-License-Identifier: Apache-2.0
// The files of a folder of manifests, as they are on disk.
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, lstat, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { MeshError } from '../lib/error.ts';
import { fileBytesMax } from './yaml-file.ts';

/** Most files that are read of one folder. */
export const filesMax = 10_000;

/** What reading a file came to. */
export type Disk =
  | { readonly kind: 'text'; readonly hash: string; readonly text: string }
  | { readonly kind: 'gone' }
  | { readonly kind: 'trouble'; readonly message: string };

/** Whether a file of this name is read. */
export function isManifestName(name: string): boolean {
  return !name.startsWith('.') && /\.ya?ml$/.test(name);
}

// A pipe or a device would never end, and without O_NONBLOCK not even open.
async function readFileAt(path: string): Promise<Disk> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const stats = await handle.stat();
    if (!stats.isFile()) {
      return { kind: 'trouble', message: 'not a regular file' };
    }
    if (stats.size > fileBytesMax) {
      return { kind: 'trouble', message: `larger than ${fileBytesMax} bytes` };
    }
    const text = await readText(handle, stats.size);
    return { kind: 'text', text, hash: createHash('sha256').update(text).digest('hex') };
  } finally {
    // Not waited for: each turn of the thread pool takes as long as the machine is busy.
    handle.close().catch(() => undefined);
  }
}

// One read where that is enough. A file that grows meanwhile is seen again.
async function readText(handle: FileHandle, size: number): Promise<string> {
  const bytes = Buffer.alloc(size);
  let length = 0;
  while (length < size) {
    const { bytesRead } = await handle.read(bytes, length, size - length, length);
    if (bytesRead === 0) {
      break;
    }
    length += bytesRead;
  }
  return bytes.toString('utf8', 0, length);
}

/** Reads a file, whatever it is. */
export async function readDisk(path: string): Promise<Disk> {
  try {
    return await readFileAt(path);
  } catch (thrown) {
    const error = MeshError.from(thrown);
    return error.code === 'unavailable'
      ? { kind: 'gone' }
      : { kind: 'trouble', message: `cannot be read: ${error.message}` };
  }
}

/** The manifests of a folder, in order. Throws MeshError: `limit` when there are too many. */
export async function listManifests(folder: string): Promise<string[]> {
  const names = (await readdir(folder)).filter(isManifestName).sort();
  if (names.length > filesMax) {
    throw new MeshError('limit', `${names.length} files, over the limit of ${filesMax}`);
  }
  return names;
}

/**
 * Whether something else than a manifest may stand between the folder and its manifests: a link
 * or a folder that links lead through. A file that is written aside does not.
 */
export async function mayBeOnTheWay(folder: string, name: string): Promise<boolean> {
  try {
    return !(await lstat(join(folder, name))).isFile();
  } catch {
    // Gone, or gone by another name: a link that is switched is there again.
    return false;
  }
}
