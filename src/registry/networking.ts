// SPDX-License-Identifier: Apache-2.0
// Istio's ServiceEntry and WorkloadEntry: what the platform does not know.
import { z } from 'zod';
import { parseCidr, parseIp } from '../lib/ip.ts';
import type { Endpoint, Resolution } from '../mesh/objects.ts';
import type { FieldProblem } from '../mesh/policy.ts';
import {
  appProtocols,
  labels,
  listEntriesMax,
  namespacedMetadata,
  objectName,
  port,
  type Reader,
  type ReadResult,
  readWith,
  unread,
} from './fields.ts';

const hostPattern = /^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\.?$/i;

const host = z
  .string()
  .max(253)
  .regex(hostPattern, 'not a DNS name, or *. before one')
  .transform((text) => text.toLowerCase().replace(/\.$/, ''));

const endpoint = z.strictObject({
  address: z.string().min(1).max(253).optional(),
  ports: z.record(z.string().min(1).max(63), port).default({}),
  labels: labels.default({}),
  network: z.string().max(253).default(''),
  locality: z.string().max(253).default(''),
  weight: z.int().min(0).max(1_000_000).default(1),
  serviceAccount: objectName.default('default'),
});

const workloadEntry = z.strictObject({
  apiVersion: z.enum(['networking.istio.io/v1', 'networking.istio.io/v1beta1']),
  kind: z.literal('WorkloadEntry'),
  metadata: namespacedMetadata,
  spec: endpoint,
  ...unread('status'),
});

const resolutions: Readonly<Record<string, Resolution>> = {
  NONE: 'none',
  STATIC: 'static',
  DNS: 'dns',
  // One address or all of them: the proxy that resolves the name decides.
  DNS_ROUND_ROBIN: 'dns',
};

const serviceEntry = z.strictObject({
  apiVersion: z.enum(['networking.istio.io/v1', 'networking.istio.io/v1beta1']),
  kind: z.literal('ServiceEntry'),
  metadata: namespacedMetadata,
  spec: z.strictObject({
    hosts: z.array(host).min(1, 'empty list').max(256),
    addresses: z
      .array(z.string().refine((text) => parseCidr(text) !== undefined, 'not an address or block'))
      .max(256)
      .default([]),
    ports: z
      .array(
        z.strictObject({
          number: port,
          name: z.string().max(63).default(''),
          protocol: z.string().max(16).default('TCP'),
          targetPort: port.optional(),
        }),
      )
      .max(256)
      .default([]),
    location: z.enum(['MESH_EXTERNAL', 'MESH_INTERNAL']).default('MESH_EXTERNAL'),
    resolution: z
      .enum(['NONE', 'STATIC', 'DNS', 'DNS_ROUND_ROBIN'], 'only NONE, STATIC and DNS are supported')
      .default('NONE'),
    endpoints: z.array(endpoint).max(listEntriesMax).default([]),
    workloadSelector: z.strictObject({ labels }).optional(),
    exportTo: z
      .array(z.enum(['.', '*'], 'only . (this namespace) and * (all) are supported'))
      .max(1)
      .default([]),
    subjectAltNames: z.array(z.string().min(1).max(2048)).max(256).default([]),
  }),
  ...unread('status'),
});

type EndpointManifest = z.infer<typeof endpoint>;
type EntryManifest = z.infer<typeof serviceEntry>;

// Text after text of the path leads to what the problem is about.
function endpointOf(
  { address: text, ports, weight, ...rest }: EndpointManifest,
  allowNames: boolean,
): Endpoint | string {
  if (text === undefined) {
    return 'missing: an endpoint without an address is supported only behind a gateway';
  }
  const address = parseIp(text);
  const isName = hostPattern.test(text) && !text.startsWith('*');
  if (address === undefined && !(allowNames && isName)) {
    return allowNames ? 'neither an IP address nor a DNS name' : 'not an IP address';
  }
  return {
    ...rest,
    address,
    hostname: address === undefined ? text.toLowerCase() : '',
    ports: new Map(Object.entries(ports)),
    weight: Math.max(1, weight),
  };
}

function workloadEntryOf({ metadata, spec }: z.infer<typeof workloadEntry>): ReadResult {
  const { namespace, name } = metadata;
  const all = { ...metadata.labels, ...spec.labels };
  const found = endpointOf({ ...spec, labels: all }, true);
  return typeof found === 'string'
    ? { ok: false, problems: [{ path: ['spec', 'address'], message: found }] }
    : { ok: true, object: { kind: 'WorkloadEntry', value: { namespace, name, endpoint: found } } };
}

function entryProblems(spec: EntryManifest['spec'], resolution: Resolution): FieldProblem[] {
  const problems: FieldProblem[] = [];
  const fail = (field: string, message: string): void => {
    problems.push({ path: ['spec', field], message });
  };
  if (resolution === 'dns' && spec.hosts.some((name) => name.startsWith('*'))) {
    fail('hosts', 'a name with * cannot be resolved; use resolution NONE');
  }
  if (resolution === 'none' && spec.endpoints.length > 0) {
    fail('endpoints', 'not used with resolution NONE, which keeps the address the client chose');
  }
  if (spec.workloadSelector !== undefined && spec.endpoints.length > 0) {
    fail('workloadSelector', 'cannot stand beside endpoints');
  }
  if (spec.workloadSelector !== undefined && resolution === 'none') {
    fail('workloadSelector', 'not used with resolution NONE');
  }
  if (new Set(spec.hosts).size < spec.hosts.length) {
    fail('hosts', 'a name stands twice');
  }
  return problems;
}

function portOf({ number, name, protocol, targetPort }: EntryManifest['spec']['ports'][number]) {
  const appProtocol = appProtocols.get(protocol.toLowerCase());
  const target = targetPort ?? number;
  return { name, port: number, target, ...(appProtocol === undefined ? {} : { appProtocol }) };
}

function serviceEntryOf({ metadata, spec }: EntryManifest): ReadResult {
  const resolution = resolutions[spec.resolution] ?? 'none';
  const problems = entryProblems(spec, resolution);
  const endpoints = spec.endpoints.flatMap((manifest, index) => {
    const found = endpointOf(manifest, resolution === 'dns');
    if (typeof found === 'string') {
      problems.push({ path: ['spec', 'endpoints', index, 'address'], message: found });
      return [];
    }
    return [found];
  });
  if (problems.length > 0) {
    return { ok: false, problems };
  }
  const value = {
    namespace: metadata.namespace,
    name: metadata.name,
    hosts: spec.hosts,
    addresses: spec.addresses.flatMap((text) => parseCidr(text) ?? []),
    ports: spec.ports.map(portOf),
    resolution,
    endpoints,
    selector: spec.workloadSelector?.labels,
    subjectAltNames: spec.subjectAltNames,
    isPrivate: spec.exportTo.includes('.'),
  };
  return { ok: true, object: { kind: 'ServiceEntry', value } };
}

const readEntry: Reader = (manifest) => readWith(serviceEntry, manifest, serviceEntryOf);
const readWorkload: Reader = (manifest) => readWith(workloadEntry, manifest, workloadEntryOf);

/** The readers of Istio's networking kinds, by `apiVersion` and kind. */
export const networkingReaders: Readonly<Record<string, Reader>> = {
  'networking.istio.io/v1/ServiceEntry': readEntry,
  'networking.istio.io/v1beta1/ServiceEntry': readEntry,
  'networking.istio.io/v1/WorkloadEntry': readWorkload,
  'networking.istio.io/v1beta1/WorkloadEntry': readWorkload,
};
