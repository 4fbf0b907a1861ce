// SPDX-License-Identifier: Apache-2.0
// Our own MeshConfig: what counts for every pod of the mesh that does not say otherwise.
import { z } from 'zod';
import { captureKinds, sameNodeWays } from '../lib/pod-settings.ts';
import { clusterMetadata, type Reader, type ReadResult, readWith, unread } from './fields.ts';

/** The name of the one that there may be. */
export const meshConfigName = 'default';

const oneOf = <const T extends readonly [string, ...string[]]>(ways: T) =>
  z.enum(ways, `not one of ${ways.join(', ')}`);

const meshConfig = z.strictObject({
  apiVersion: z.literal('weft.dev/v1alpha1'),
  kind: z.literal('MeshConfig'),
  metadata: clusterMetadata.refine(({ name }) => name === meshConfigName, {
    path: ['name'],
    message: `a mesh has one MeshConfig, whose name is ${meshConfigName}`,
  }),
  spec: z.strictObject({
    capture: oneOf(captureKinds).optional(),
    sameNode: oneOf(sameNodeWays).optional(),
  }),
  ...unread('status'),
});

function meshConfigOf({ metadata: { name }, spec }: z.infer<typeof meshConfig>): ReadResult {
  return { ok: true, object: { kind: 'MeshConfig', value: { name, ...spec } } };
}

/** The reader of MeshConfig, by `apiVersion` and kind. */
export const meshConfigReaders: Readonly<Record<string, Reader>> = {
  'weft.dev/v1alpha1/MeshConfig': (manifest) => readWith(meshConfig, manifest, meshConfigOf),
};
