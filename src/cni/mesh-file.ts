// SPDX-License-Identifier: Apache-2.0
// What was last heard of the mesh's settings, on disk: pods that a restarted agent takes over are
// treated by it until a proxy tells it more.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import { MeshError } from '../lib/error.ts';
import { captureKinds, type MeshConfig, sameNodeWays } from '../lib/pod-settings.ts';

const schema = z.strictObject({
  capture: z.enum(captureKinds).optional(),
  sameNode: z.enum(sameNodeWays).optional(),
});

/** Writes it (0600) in one step: a crash leaves the old one or the new one. */
export function saveMeshConfig(path: string, config: MeshConfig): void {
  writeFileSync(`${path}.new`, JSON.stringify(config), { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** Reads it back; nothing when there is none. Throws MeshError `invalid` when it is damaged. */
export function loadMeshConfig(path: string): MeshConfig {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      return {};
    }
    throw MeshError.from(error);
  }
  try {
    return schema.parse(JSON.parse(text));
  } catch (error) {
    throw new MeshError('invalid', `${path} is not what the mesh says`, { cause: error });
  }
}
