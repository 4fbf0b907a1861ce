// SPDX-License-Identifier: Apache-2.0
// Our own DenyList: who is refused although the certificate is good, because its key is not in the
// right hands any more.
import { z } from 'zod';
import { parseSpiffeId } from '../spiffe/id.ts';
import {
  clusterMetadata,
  listEntriesMax,
  type Reader,
  type ReadResult,
  readWith,
  unread,
} from './fields.ts';

const identity = z
  .string()
  .max(2048)
  .refine((text) => {
    const id = parseSpiffeId(text);
    return id.ok && id.value.path !== '';
  }, 'not a SPIFFE ID with a path');

// As OpenSSL prints it, and as certificate viewers do: with colons, in capitals.
const serial = z
  .string()
  .regex(/^[0-9a-fA-F]{1,2}(:?[0-9a-fA-F]{1,2}){0,19}$/, 'not a serial number in hexadecimal')
  .transform((text) =>
    text
      .replaceAll(':', '')
      .toLowerCase()
      .replace(/^0+(?=.)/, ''),
  );

const denyList = z.strictObject({
  apiVersion: z.literal('weft.dev/v1alpha1'),
  kind: z.literal('DenyList'),
  metadata: clusterMetadata,
  spec: z.strictObject({
    identities: z.array(identity).max(listEntriesMax).default([]),
    serials: z.array(serial).max(listEntriesMax).default([]),
  }),
  ...unread('status'),
});

function denyListOf({ metadata: { name }, spec }: z.infer<typeof denyList>): ReadResult {
  const { identities, serials } = spec;
  return { ok: true, object: { kind: 'DenyList', value: { name, identities, serials } } };
}

/** The reader of DenyList, by `apiVersion` and kind. */
export const denyListReaders: Readonly<Record<string, Reader>> = {
  'weft.dev/v1alpha1/DenyList': (manifest) => readWith(denyList, manifest, denyListOf),
};
