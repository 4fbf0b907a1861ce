// SPDX-License-Identifier: Apache-2.0
// SPIFFE IDs, by the SPIFFE-ID standard, and the two shapes of path that Weft gives a meaning.
import { MeshError, type Result } from '../lib/error.ts';

/** A parsed SPIFFE ID. Equal IDs have equal `formatSpiffeId` texts. */
export interface SpiffeId {
  /** Lower case. */
  readonly trustDomain: string;
  /** Empty, or starts with a slash and never ends with one. Case matters. */
  readonly path: string;
}

/** The namespace and service account that a workload's SPIFFE ID names. */
export interface WorkloadIdentity {
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** Longest SPIFFE ID that is taken, in bytes (SPIFFE-ID section 2.3). */
export const spiffeIdBytesMax = 2048;

/** Longest trust domain that is taken, in bytes. */
export const trustDomainBytesMax = 255;

const trustDomainPattern = /^[a-z0-9._-]+$/;
const segmentPattern = /^[a-zA-Z0-9._-]+$/;
const scheme = 'spiffe://';

function invalid<T>(reason: string): Result<T> {
  return { ok: false, error: new MeshError('invalid', `not a SPIFFE ID: ${reason}`) };
}

function isSegment(segment: string): boolean {
  return segmentPattern.test(segment) && segment !== '.' && segment !== '..';
}

/** Whether `text` may stand as a trust domain (in its lower-case form). */
export function isTrustDomain(text: string): boolean {
  return text.length <= trustDomainBytesMax && trustDomainPattern.test(text);
}

/**
 * Parses a SPIFFE ID from untrusted text. Scheme and trust domain may be in any case, the path
 * keeps its own. User info, port, percent-encoding, query, fragment, empty and dot segments and a
 * trailing slash are refused (SPIFFE-ID sections 2.1 and 2.2).
 */
export function parseSpiffeId(text: string): Result<SpiffeId> {
  // The length comes first, so that nothing below works on unbounded input.
  if (text.length > spiffeIdBytesMax) {
    return invalid(`longer than ${spiffeIdBytesMax} bytes`);
  }
  if (text.slice(0, scheme.length).toLowerCase() !== scheme) {
    return invalid('the scheme is not spiffe');
  }
  const rest = text.slice(scheme.length);
  const slash = rest.indexOf('/');
  const trustDomain = (slash < 0 ? rest : rest.slice(0, slash)).toLowerCase();
  const path = slash < 0 ? '' : rest.slice(slash);
  if (!isTrustDomain(trustDomain)) {
    return invalid('the trust domain is empty, too long or has a character that is not allowed');
  }
  if (path !== '' && !path.slice(1).split('/').every(isSegment)) {
    return invalid('the path has an empty, dot or otherwise wrong segment');
  }
  return { ok: true, value: { trustDomain, path } };
}

/** The text of a SPIFFE ID. */
export function formatSpiffeId(id: SpiffeId): string {
  return `${scheme}${id.trustDomain}${id.path}`;
}

/** The SPIFFE ID of a workload. The names are Kubernetes names, which need no escaping. */
export function workloadSpiffeId(trustDomain: string, workload: WorkloadIdentity): SpiffeId {
  return { trustDomain, path: `/ns/${workload.namespace}/sa/${workload.serviceAccount}` };
}

/** The SPIFFE ID of the node proxy that runs on a node. */
export function nodeSpiffeId(trustDomain: string, node: string): SpiffeId {
  return { trustDomain, path: `/node/${node}` };
}

/** Whom a workload's SPIFFE ID names; undefined when the path has another shape. */
export function workloadOf(id: SpiffeId): WorkloadIdentity | undefined {
  const [, ns, namespace, sa, serviceAccount, ...more] = id.path.split('/');
  if (ns !== 'ns' || sa !== 'sa' || more.length > 0) {
    return undefined;
  }
  return namespace === undefined || serviceAccount === undefined
    ? undefined
    : { namespace, serviceAccount };
}

/** The node that a node proxy's SPIFFE ID names; undefined when the path has another shape. */
export function nodeOf(id: SpiffeId): string | undefined {
  const [, kind, node, ...more] = id.path.split('/');
  return kind === 'node' && more.length === 0 ? node : undefined;
}
