// SPDX-License-Identifier: Apache-2.0
// Which generations of the authority a trust domain has and how far a rotation got: one file in the
// state folder, replaced in one step, so that a control plane that dies goes on where it was.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { MeshError } from '../lib/error.ts';
import { createPrivateFile, writePrivateFile } from '../lib/private-files.ts';
import type { GenerationName } from './generation.ts';

/** How far a rotation is. */
export type RotationPhase =
  | 'steady' // one root
  | 'prepared' // the next root is in the bundle and signs nothing yet
  | 'activated'; // the next root signs; the old one is still in the bundle

/** The record. */
export interface TrustRecord {
  readonly version: 1;
  readonly trustDomain: string;
  /** Rises with every change of the bundle. */
  readonly epoch: number;
  /** Signs workloads and nodes. */
  readonly active: GenerationName;
  /** Will sign them: the phase is `prepared`. */
  readonly next?: GenerationName | undefined;
  /** Signed them, and signs the control plane's own certificate still: it is `activated`. */
  readonly retired?: GenerationName | undefined;
  /** When the phase began. */
  readonly since: string;
  /** Whether the control plane goes on to the next phase by itself. */
  readonly walk: boolean;
}

const generation = z.strictObject({
  id: z.string().regex(/^[0-9a-f]{8}$/),
  kind: z.enum(['own', 'given']),
});

const schema = z.strictObject({
  version: z.literal(1),
  trustDomain: z.string().min(1),
  epoch: z.int().min(1),
  active: generation,
  next: generation.optional(),
  retired: generation.optional(),
  since: z.iso.datetime(),
  walk: z.boolean(),
});

const fileName = 'trust.json';

/** The phase that a record says. */
export function phaseOf({ next, retired }: TrustRecord): RotationPhase {
  if (next !== undefined) {
    return 'prepared';
  }
  return retired === undefined ? 'steady' : 'activated';
}

/** Reads the record; undefined when there is none. Throws MeshError `invalid`. */
export async function readTrustRecord(folder: string): Promise<TrustRecord | undefined> {
  const path = join(folder, fileName);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (thrown) {
    const error = MeshError.from(thrown);
    if (error.code === 'unavailable') {
      return undefined;
    }
    throw error;
  }
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw new MeshError('invalid', `${path} is no record of a certificate authority`, { cause });
  }
}

function textOf(record: TrustRecord): string {
  return `${JSON.stringify(record, undefined, 2)}\n`;
}

/** Writes the record over the one before. */
export async function writeTrustRecord(folder: string, record: TrustRecord): Promise<void> {
  await writePrivateFile(join(folder, fileName), textOf(record));
}

/** Writes the first record; false when there is one already, which then stays. */
export async function createTrustRecord(folder: string, record: TrustRecord): Promise<boolean> {
  return await createPrivateFile(join(folder, fileName), textOf(record));
}
