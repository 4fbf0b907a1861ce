// SPDX-License-Identifier: Apache-2.0
// One process at a time in a folder.
import { randomUUID } from 'node:crypto';
import { link, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { MeshError } from './error.ts';
import { createPrivateFile } from './private-files.ts';

/** A lock that is held. */
export interface FolderLock {
  /** Gives the folder free. A process that ends without it leaves a lock that the next takes over. */
  release(): Promise<void>;
}

const lockName = 'lock';

// The start time of a process in clock ticks: field 22 of its stat line, the 20th after the name.
async function startOf(pid: number): Promise<string | undefined> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8');
    return text
      .slice(text.lastIndexOf(')') + 2)
      .split(' ')
      .at(19);
  } catch {
    return undefined;
  }
}

// Who a process is beyond its number, which another process may get after its end.
async function processText(pid: number): Promise<string | undefined> {
  const start = await startOf(pid);
  const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
  return start === undefined ? undefined : `${pid} ${start} ${boot}`;
}

async function isHeld(text: string): Promise<boolean> {
  const pid = Number.parseInt(text, 10);
  // A text that cannot be read as a holder is a torn leftover: files are written whole.
  return pid > 0 && (await processText(pid)) === text;
}

async function readLock(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (thrown) {
    const error = MeshError.from(thrown);
    if (error.code === 'unavailable') {
      return undefined;
    }
    throw error;
  }
}

// Moves a lock aside whose holder is gone. Another process may have done so first and locked
// since: its lock is then put back.
async function removeStale(path: string, stale: string): Promise<void> {
  const aside = `${path}.${randomUUID()}`;
  try {
    await rename(path, aside);
    if ((await readLock(aside)) !== stale) {
      await link(aside, path);
    }
  } catch (thrown) {
    const error = MeshError.from(thrown);
    if (error.code !== 'unavailable' && error.code !== 'conflict') {
      throw error;
    }
  } finally {
    await rm(aside, { force: true });
  }
}

/**
 * Takes the lock of a folder, which must exist. Throws MeshError `conflict` when a living process
 * holds it; one that ended, or ran before the last boot, does not count.
 */
export async function lockFolder(folder: string): Promise<FolderLock> {
  const path = join(folder, lockName);
  const own = await processText(process.pid);
  if (own === undefined) {
    throw new MeshError('unsupported', '/proc does not show this process');
  }
  while (!(await createPrivateFile(path, own))) {
    const text = await readLock(path);
    if (text === undefined) {
      continue;
    }
    if (await isHeld(text)) {
      const pid = Number.parseInt(text, 10);
      throw new MeshError('conflict', `${folder} is in use by process ${pid}`);
    }
    await removeStale(path, text);
  }
  return {
    release: async () => {
      if ((await readLock(path)) === own) {
        await rm(path, { force: true });
      }
    },
  };
}
