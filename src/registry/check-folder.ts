// SPDX-License-Identifier: Apache-2.0
// A folder of manifests, read once to say what is wrong with it.
import { join } from 'node:path';
import { MeshError } from '../lib/error.ts';
import { listManifests, readDisk } from './disk.ts';
import { type FileVersions, mergeFiles } from './merge.ts';
import type { Problem } from './problem.ts';
import { warningsOf } from './warnings.ts';
import { parseManifests, problemFile } from './yaml-file.ts';

/**
 * Everything that is wrong with the manifests of a folder, errors and warnings. Throws MeshError
 * when the folder cannot be read.
 */
export async function checkFolder(folder: string): Promise<Problem[]> {
  const files = new Map<string, FileVersions>();
  try {
    for (const name of await listManifests(folder)) {
      const disk = await readDisk(join(folder, name));
      if (disk.kind !== 'gone') {
        const current =
          disk.kind === 'text' ? parseManifests(name, disk.text) : problemFile(name, disk.message);
        files.set(name, { current, good: undefined });
      }
    }
  } catch (thrown) {
    throw MeshError.from(thrown);
  }
  const { objects, problems } = mergeFiles(files);
  return [...problems, ...warningsOf(objects)];
}
