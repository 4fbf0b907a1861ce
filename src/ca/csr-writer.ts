// SPDX-License-Identifier: Apache-2.0
// Writes the certificate request of a workload or a node (PKCS #10, RFC 2986). By hand, because a
// general library takes 8 MB of memory in a process that every node runs.
import { generateKeyPair, sign } from 'node:crypto';
import { promisify } from 'node:util';
import { bitString, context, derTrue, integer, octetString, oid, sequence, set } from './der.ts';

/** A request with the private key it is for. */
export interface Csr {
  readonly pem: string;
  /** PKCS#8. The holder wipes it. */
  readonly key: Uint8Array;
}

const oids = {
  extensionRequest: oid('1.2.840.113549.1.9.14'),
  subjectAltName: oid('2.5.29.17'),
} as const;
const ecdsaWithSha256 = sequence(oid('1.2.840.10045.4.3.2'));
const tagUri = 6;
const pemColumns = /.{1,64}/g;

const generate = promisify(generateKeyPair);

/** Makes a P-256 key and a request for it with this one name. The subject is empty. */
export async function makeCsr(spiffeId: string): Promise<Csr> {
  const keys = await generate('ec', { namedCurve: 'P-256' });
  const names = sequence(context(tagUri, 'primitive', Buffer.from(spiffeId, 'ascii')));
  // Critical, because the subject is empty (RFC 5280 section 4.2.1.6).
  const extension = sequence(oids.subjectAltName, derTrue, octetString(names));
  const attribute = sequence(oids.extensionRequest, set(sequence(extension)));
  const info = sequence(
    integer(Buffer.of(0)),
    sequence(),
    keys.publicKey.export({ format: 'der', type: 'spki' }),
    context(0, 'constructed', attribute),
  );
  const signature = sign('sha256', info, keys.privateKey);
  const request = sequence(info, ecdsaWithSha256, bitString(signature));
  const lines = request.toString('base64').match(pemColumns) ?? [];
  const frame = (end: string): string => `-----${end} CERTIFICATE REQUEST-----`;
  const key = keys.privateKey.export({ format: 'der', type: 'pkcs8' });
  return {
    pem: [frame('BEGIN'), ...lines, frame('END'), ''].join('\n'),
    key: new Uint8Array(key.buffer, key.byteOffset, key.length),
  };
}
