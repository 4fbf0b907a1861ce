// SPDX-License-Identifier: Apache-2.0
// What both ends of the certificate service share: the method and its encodings.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import type { MethodDefinition } from '@grpc/grpc-js';
import {
  type IstioCertificateRequest,
  IstioCertificateRequestSchema,
  type IstioCertificateResponse,
  IstioCertificateResponseSchema,
} from './gen/citadel_pb.js';

export type { IstioCertificateRequest, IstioCertificateResponse } from './gen/citadel_pb.js';
export { IstioCertificateRequestSchema, IstioCertificateResponseSchema } from './gen/citadel_pb.js';

/** The name of the service, as the first half of the method's path. */
export const certificateServiceName = 'istio.v1.auth.IstioCertificateService';

/** Largest gRPC message either end takes: a CSR is about 500 bytes and a chain a few kilobytes. */
export const certificateMessageBytesMax: number = 64 * 1024;

/** The metadata key that carries the join token, as `Bearer TOKEN`. */
export const authorizationKey = 'authorization';

/** The request field that names the workload identity a node asks a certificate for. */
export const impersonatedIdentityKey = 'ImpersonatedIdentity';

/** The one method, unary. For a client: `client.makeUnaryRequest(path, ...)`. */
export const createCertificateMethod: MethodDefinition<
  IstioCertificateRequest,
  IstioCertificateResponse
> = {
  path: `/${certificateServiceName}/CreateCertificate`,
  requestStream: false,
  responseStream: false,
  requestSerialize: (value) => Buffer.from(toBinary(IstioCertificateRequestSchema, value)),
  requestDeserialize: (bytes) => fromBinary(IstioCertificateRequestSchema, bytes),
  responseSerialize: (value) => Buffer.from(toBinary(IstioCertificateResponseSchema, value)),
  responseDeserialize: (bytes) => fromBinary(IstioCertificateResponseSchema, bytes),
};

/** What a node asks the CA for. */
export interface CertificateAsk {
  /** PKCS#10 in PEM; its only SAN is the SPIFFE ID asked for. */
  readonly csrPem: string;
  /** The CA clamps it to its own limits. */
  readonly validitySeconds: number;
  /** The workload identity to act for; left out when a node asks for its own. */
  readonly impersonatedIdentity?: string;
}

/** The message of one ask. */
export function certificateRequest(ask: CertificateAsk): IstioCertificateRequest {
  const identity = ask.impersonatedIdentity;
  return create(IstioCertificateRequestSchema, {
    csr: ask.csrPem,
    validityDuration: BigInt(Math.trunc(ask.validitySeconds)),
    ...(identity === undefined ? {} : { metadata: { [impersonatedIdentityKey]: identity } }),
  });
}

/** The workload identity a request names; undefined when it names none (or not as a string). */
export function impersonatedIdentityOf(request: IstioCertificateRequest): string | undefined {
  const value = request.metadata?.[impersonatedIdentityKey];
  return typeof value === 'string' ? value : undefined;
}

/** The answer: the certificates in PEM, leaf first, the root last. */
export function certificateResponse(chainPem: readonly string[]): IstioCertificateResponse {
  return create(IstioCertificateResponseSchema, { certChain: [...chainPem] });
}
