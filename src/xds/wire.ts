// SPDX-License-Identifier: Apache-2.0
// What both ends of the delta xDS stream share: type URLs, the method, and the encodings.
import {
  create,
  type DescMessage,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import type { MethodDefinition } from '@grpc/grpc-js';
import { MeshError, type Result } from '../lib/error.ts';
import { type Authorization, AuthorizationSchema } from './gen/authorization_pb.js';
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from './gen/discovery_pb.js';
import { type MeshConfig, MeshConfigSchema } from './gen/mesh_pb.js';
import { type TrustBundle, TrustBundleSchema } from './gen/trust_pb.js';
import { type Address, AddressSchema } from './gen/workload_pb.js';

export type {
  Address as CidrAddress,
  Authorization,
  Clause,
  Match,
  Rule,
  StringMatch,
} from './gen/authorization_pb.js';
export {
  Action as AuthorizationAction,
  AuthorizationSchema,
  Scope as AuthorizationScope,
} from './gen/authorization_pb.js';
export type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
  Node,
  Resource,
} from './gen/discovery_pb.js';
export {
  DeltaDiscoveryRequestSchema,
  DeltaDiscoveryResponseSchema,
  ResourceSchema,
} from './gen/discovery_pb.js';
export type { MeshConfig as MeshConfigBody } from './gen/mesh_pb.js';
export { MeshConfigSchema } from './gen/mesh_pb.js';
export type { TrustBundle } from './gen/trust_pb.js';
export { TrustBundleSchema } from './gen/trust_pb.js';
export type {
  Address,
  LoadBalancing,
  NetworkAddress,
  Port,
  PortList,
  Service,
  Workload,
} from './gen/workload_pb.js';
export {
  AddressSchema,
  AppProtocol,
  IPFamilies,
  LoadBalancing_HealthPolicy as HealthPolicy,
  LoadBalancing_Mode as LoadBalancingMode,
  LoadBalancing_Scope as LoadBalancingScope,
  NetworkMode,
  ServiceSchema,
  TunnelProtocol,
  Visibility,
  WorkloadSchema,
  WorkloadStatus,
  WorkloadType,
} from './gen/workload_pb.js';

/** The resource types Weft serves: Istio's two by the names Istio gave them, and two of our own. */
export const typeUrls = {
  meshConfig: 'type.googleapis.com/weft.mesh.v1.MeshConfig',
  trustBundle: 'type.googleapis.com/weft.trust.v1.TrustBundle',
  authorization: 'type.googleapis.com/istio.security.Authorization',
  address: 'type.googleapis.com/istio.workload.Address',
} as const;

/** A resource type on the stream. */
export type TypeUrl = (typeof typeUrls)[keyof typeof typeUrls];

/** What a resource of each type holds. */
export interface Bodies {
  readonly [typeUrls.meshConfig]: MeshConfig;
  readonly [typeUrls.trustBundle]: TrustBundle;
  readonly [typeUrls.authorization]: Authorization;
  readonly [typeUrls.address]: Address;
}

const bodySchemas: { readonly [T in TypeUrl]: DescMessage } = {
  [typeUrls.meshConfig]: MeshConfigSchema,
  [typeUrls.trustBundle]: TrustBundleSchema,
  [typeUrls.authorization]: AuthorizationSchema,
  [typeUrls.address]: AddressSchema,
};

/**
 * The order in which the types of one snapshot are requested and sent: how pods are treated and whom
 * to trust, then policies, then addresses, so that no proxy learns of a workload before the rule that
 * protects it.
 */
export const typeOrder: readonly TypeUrl[] = [
  typeUrls.meshConfig,
  typeUrls.trustBundle,
  typeUrls.authorization,
  typeUrls.address,
];

/** The types that every server of a mesh has. Others may stay unanswered by one that is not ours. */
export const requiredTypes: readonly TypeUrl[] = [typeUrls.authorization, typeUrls.address];

/** Whether a text is one of the types. */
export function isTypeUrl(text: string): text is TypeUrl {
  return Object.hasOwn(bodySchemas, text);
}

/** Largest gRPC message either end takes. A reconnect names every resource held, about 100 B each. */
export const messageBytesMax: number = 16 * 1024 * 1024;

/** The name of the service, as the first half of the method's path. */
export const adsServiceName = 'envoy.service.discovery.v3.AggregatedDiscoveryService';

function encode<T extends DescMessage>(schema: T): (value: MessageShape<T>) => Buffer {
  return (value) => Buffer.from(toBinary(schema, value));
}

function decode<T extends DescMessage>(schema: T): (bytes: Buffer) => MessageShape<T> {
  return (bytes) => fromBinary(schema, bytes);
}

/**
 * The one method: a bidirectional stream of DeltaDiscoveryRequest and DeltaDiscoveryResponse. For
 * a client, `client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata)`.
 */
export const deltaMethod: MethodDefinition<DeltaDiscoveryRequest, DeltaDiscoveryResponse> = {
  path: `/${adsServiceName}/DeltaAggregatedResources`,
  requestStream: true,
  responseStream: true,
  requestSerialize: encode(DeltaDiscoveryRequestSchema),
  requestDeserialize: decode(DeltaDiscoveryRequestSchema),
  responseSerialize: encode(DeltaDiscoveryResponseSchema),
  responseDeserialize: decode(DeltaDiscoveryResponseSchema),
};

/** A request from its parts; what is left out is empty. */
export function deltaRequest(
  init: MessageInitShape<typeof DeltaDiscoveryRequestSchema>,
): DeltaDiscoveryRequest {
  return create(DeltaDiscoveryRequestSchema, init);
}

function parse<T extends DescMessage>(schema: T, bytes: Uint8Array): Result<MessageShape<T>> {
  try {
    return { ok: true, value: fromBinary(schema, bytes) };
  } catch (cause) {
    const error = new MeshError('invalid', `bytes are not a ${schema.typeName}`, { cause });
    return { ok: false, error };
  }
}

/** Decodes the body of a resource. Only the encoding is checked, not the meaning. */
export function parseBody<T extends TypeUrl>(type: T, bytes: Uint8Array): Result<Bodies[T]> {
  return parse(bodySchemas[type], bytes) as Result<MessageShape<DescMessage>> as Result<Bodies[T]>;
}

/** `parseBody` of an Address. */
export function parseAddress(bytes: Uint8Array): Result<Address> {
  return parse(AddressSchema, bytes);
}

/** `parseBody` of an Authorization. */
export function parseAuthorization(bytes: Uint8Array): Result<Authorization> {
  return parse(AuthorizationSchema, bytes);
}
