// SPDX-License-Identifier: Apache-2.0
// Who is at the other end of a gRPC call, by its verified certificate alone.
import { X509Certificate } from 'node:crypto';
import type { ProvenCaller } from '../ca/server.ts';
import { parseSpiffeId, type SpiffeId } from '../spiffe/id.ts';

/** The part of a gRPC call that tells who calls. */
export interface AuthenticatedCall {
  getAuthContext(): { readonly sslPeerCertificate?: { readonly raw: Buffer } | undefined };
}

/**
 * The SPIFFE ID in the certificate of a TLS peer whose chain was verified; undefined when the
 * certificate is not a leaf with exactly one URI SAN that is a SPIFFE ID with a path
 * (X.509-SVID sections 2 and 5).
 */
export function spiffeIdOf(certificate: X509Certificate): SpiffeId | undefined {
  const names = certificate.subjectAltName?.split(', ') ?? [];
  const uris = names.filter((name) => name.startsWith('URI:'));
  // Node quotes a name that could be mistaken for two; a SPIFFE ID never needs that.
  if (certificate.ca || uris.length !== 1 || certificate.subjectAltName?.includes('"')) {
    return undefined;
  }
  const id = parseSpiffeId(uris[0]?.slice('URI:'.length) ?? '');
  return id.ok && id.value.path !== '' ? id.value : undefined;
}

/** Who calls; undefined when it showed no certificate, or none that is an SVID. */
export function callerOf(call: AuthenticatedCall): ProvenCaller | undefined {
  const raw = call.getAuthContext().sslPeerCertificate?.raw;
  if (raw === undefined) {
    return undefined;
  }
  const certificate = new X509Certificate(raw);
  const spiffeId = spiffeIdOf(certificate);
  // As a deny list writes it.
  const serial = certificate.serialNumber.toLowerCase().replace(/^0+(?=.)/, '');
  return spiffeId && { spiffeId, serial };
}
