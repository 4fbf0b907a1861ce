// SPDX-License-Identifier: Apache-2.0
// The list of pods on disk, from before each is captured until it is released, so that a restarted
// agent does not forget whom it captured.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import { MeshError } from '../lib/error.ts';
import { bypassWays, captureKinds, sameNodeWays } from '../lib/pod-settings.ts';
import { type ListedPod, podsMax } from './pod.ts';

const settings = {
  capture: z.enum(captureKinds).optional(),
  sameNode: z.enum(sameNodeWays).optional(),
  bypass: z.enum(bypassWays).optional(),
};

const schema = z
  .array(
    z.strictObject({
      uid: z.string(),
      name: z.string(),
      namespace: z.string(),
      serviceAccount: z.string(),
      netns: z.string(),
      nameservers: z.array(z.string()).default([]),
      ...settings,
      ofNamespace: z.strictObject(settings).optional(),
      meshCapture: z.enum(captureKinds).optional(),
      former: z.record(z.string(), z.string()).optional(),
      releasing: z.literal(true).optional(),
    }),
  )
  .max(podsMax);

/** Writes the list (0600) in one step: a crash leaves the old one or the new one. */
export function savePods(path: string, pods: readonly ListedPod[]): void {
  writeFileSync(`${path}.new`, JSON.stringify(pods), { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** Reads the list back; empty when there is none. Throws MeshError `invalid` when it is damaged. */
export function loadPods(path: string): ListedPod[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      return [];
    }
    throw MeshError.from(error);
  }
  try {
    return schema.parse(JSON.parse(text));
  } catch (error) {
    throw new MeshError('invalid', `${path} is not a list of pods`, { cause: error });
  }
}
