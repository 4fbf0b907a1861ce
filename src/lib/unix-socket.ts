// SPDX-License-Identifier: Apache-2.0
// Sockets in the file system that only their owner can open.
import { chmodSync, mkdirSync, statSync, unlinkSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import { dirname } from 'node:path';
import { MeshError } from './error.ts';

/** Makes the folder of a socket (0700); throws MeshError `denied` for one that others can enter. */
export function prepareSocketFolder(path: string): void {
  const folder = dirname(path);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  if ((statSync(folder).mode & 0o077) !== 0) {
    throw new MeshError('denied', `${folder} is open to others than its owner (want mode 0700)`);
  }
}

// Only a socket nobody listens on is removed: a live process keeps its own.
function removeStale(path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const probe = connect(path, () => {
      probe.destroy();
      reject(new MeshError('conflict', `another process listens on ${path}`));
    });
    probe.on('error', (error) => {
      if ('code' in error && error.code === 'ECONNREFUSED') {
        unlinkSync(path);
      }
      resolve();
    });
  });
}

/**
 * Listens at `path`: 0600, in a folder of 0700. Rejects with MeshError `conflict` when another
 * process serves there, `denied` when others can enter the folder.
 */
export async function listenPrivate(server: Server, path: string): Promise<void> {
  prepareSocketFolder(path);
  await removeStale(path);
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(MeshError.from(error)));
    server.listen(path, resolve);
  });
  chmodSync(path, 0o600);
}
