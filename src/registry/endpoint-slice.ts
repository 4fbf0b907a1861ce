// SPDX-License-Identifier: Apache-2.0
// Endpoints of a Kubernetes service that are written down one by one.
import { z } from 'zod';
import type { FieldProblem } from '../mesh/policy.ts';
import {
  address,
  addressBytes,
  namespacedMetadata,
  objectName,
  port,
  type Reader,
  type ReadResult,
  readWith,
  unread,
} from './fields.ts';

const endpointSlice = z.strictObject({
  apiVersion: z.literal('discovery.k8s.io/v1'),
  kind: z.literal('EndpointSlice'),
  metadata: namespacedMetadata,
  addressType: z.enum(['IPv4', 'IPv6'], 'only IPv4 and IPv6 can be endpoints here'),
  endpoints: z
    .array(
      z.strictObject({
        addresses: z.array(address).min(1, 'empty list').max(100),
        conditions: z.looseObject({ ready: z.boolean().optional() }).default({}),
        nodeName: objectName.optional(),
        zone: z.string().max(253).optional(),
        targetRef: z
          .looseObject({ kind: z.string().optional(), name: z.string().optional() })
          .optional(),
        ...unread('deprecatedTopology', 'hints', 'hostname'),
      }),
    )
    .max(1_000)
    .default([]),
  ports: z
    .array(
      z.strictObject({
        name: z.string().max(63).default(''),
        port: port.optional(),
        protocol: z.enum(['TCP', 'UDP', 'SCTP']).default('TCP'),
        ...unread('appProtocol'),
      }),
    )
    .max(20_000)
    .default([]),
});

type SliceManifest = z.infer<typeof endpointSlice>;

const serviceNameLabel = 'kubernetes.io/service-name';

function sliceOf({ metadata, ports, endpoints, addressType }: SliceManifest): ReadResult {
  const service = metadata.labels[serviceNameLabel];
  if (service === undefined) {
    const message = `missing: it says which service the endpoints belong to`;
    return { ok: false, problems: [{ path: ['metadata', 'labels', serviceNameLabel], message }] };
  }
  const bytes = addressType === 'IPv4' ? 4 : 16;
  const problems: FieldProblem[] = [];
  const value = {
    namespace: metadata.namespace,
    name: metadata.name,
    service,
    ports: ports
      .filter(({ protocol }) => protocol === 'TCP')
      .map((entry) => ({ name: entry.name, port: entry.port })),
    endpoints: endpoints.map((endpoint, index) => {
      const addresses = addressBytes(endpoint.addresses);
      if (addresses.some(({ length }) => length !== bytes)) {
        problems.push({
          path: ['endpoints', index, 'addresses'],
          message: `not ${addressType}, which is the addressType`,
        });
      }
      const { targetRef, conditions, nodeName: node = '', zone = '' } = endpoint;
      const pod = targetRef?.kind === 'Pod' ? targetRef.name : undefined;
      return { addresses, ready: conditions.ready ?? true, pod, node, zone };
    }),
  };
  return problems.length === 0
    ? { ok: true, object: { kind: 'EndpointSlice', value } }
    : { ok: false, problems };
}

/** The reader of EndpointSlice, by `apiVersion` and kind. */
export const endpointSliceReaders: Readonly<Record<string, Reader>> = {
  'discovery.k8s.io/v1/EndpointSlice': (manifest) => readWith(endpointSlice, manifest, sliceOf),
};
