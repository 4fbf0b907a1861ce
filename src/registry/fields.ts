// SPDX-License-Identifier: Apache-2.0
// The parts that the schemas of all kinds share, and the step from a schema to a checked object.
import { z } from 'zod';
import { parseIp } from '../lib/ip.ts';
import type { AppProtocol, Labels, MeshObject } from '../mesh/objects.ts';
import type { FieldProblem } from '../mesh/policy.ts';

/** What reading one manifest came to: an object, or everything that is wrong with it. */
export type ReadResult =
  | { readonly ok: true; readonly object: MeshObject }
  | { readonly ok: false; readonly problems: readonly FieldProblem[] };

/** Reads one manifest, already parsed from YAML. */
export type Reader = (manifest: unknown) => ReadResult;

/** The metadata of an object that belongs to the cluster. */
export interface ClusterMetadata {
  readonly name: string;
  readonly labels: Labels;
  readonly annotations: Labels;
  /** Set while the object is being deleted. */
  readonly deletionTimestamp?: unknown;
}

/** The metadata of an object that belongs to a namespace. */
export interface NamespacedMetadata extends ClusterMetadata {
  readonly namespace: string;
}

/** Most entries that are taken of any list in a manifest. */
export const listEntriesMax = 10_000;

/** Most labels or annotations that are taken of one object. */
export const labelsMax = 1_000;

/** Fields that manifests may carry and that nothing here reads. */
export function unread<const T extends readonly string[]>(
  ...names: T
): Record<T[number], z.ZodOptional<z.ZodUnknown>> {
  const entries = names.map((name) => [name, z.unknown().optional()]);
  return Object.fromEntries(entries) as Record<T[number], z.ZodOptional<z.ZodUnknown>>;
}

/** The name of an object. */
export const objectName: z.ZodType<string> = z
  .string()
  .max(253)
  .regex(
    /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/,
    'not a Kubernetes name: lower-case letters, digits, - and . only',
  );

const namespaceName = z
  .string()
  .max(63)
  .regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/, 'not a namespace name');

/** A part of a DNS name, or nothing. */
export const dnsLabel: z.ZodType<string> = z
  .string()
  .max(63)
  .regex(/^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$/, 'not a part of a DNS name');

/** Labels, or a selector over them. */
export const labels: z.ZodType<Labels> = z
  .record(z.string().min(1).max(317), z.string().max(63))
  .refine((value) => Object.keys(value).length <= labelsMax, `more than ${labelsMax} labels`);

/** An IP address as text. */
export const address: z.ZodType<string> = z
  .string()
  .refine((text) => parseIp(text) !== undefined, 'not an IP address');

/** A port number. */
export const port: z.ZodType<number> = z.int().min(1).max(65535);

/** A port number as a key of a map. */
export const portText: z.ZodType<string> = z
  .string()
  .refine((text) => /^[1-9][0-9]{0,4}$/.test(text) && Number(text) <= 65535, 'not a port');

/**
 * What is spoken on a port, by the names that manifests have for it. A map, since an object also
 * answers to 'constructor'.
 */
export const appProtocols: ReadonlyMap<string, AppProtocol> = new Map([
  ['http', 'http11'],
  ['http2', 'http2'],
  ['kubernetes.io/h2c', 'http2'],
  ['grpc', 'grpc'],
  ['tcp', 'tcp'],
  ['tls', 'tls'],
  ['https', 'tls'],
]);

/** The bytes of addresses that were checked, each once. */
export function addressBytes(texts: readonly (string | undefined)[]): Uint8Array[] {
  return [...new Set(texts)].flatMap((text) => (text === undefined ? [] : (parseIp(text) ?? [])));
}

const metadataRest = {
  uid: z.string().min(1).max(128).optional(),
  labels: labels.default({}),
  annotations: z.record(z.string(), z.string()).default({}),
  ...unread(
    'creationTimestamp',
    'deletionGracePeriodSeconds',
    'deletionTimestamp',
    'finalizers',
    'generateName',
    'generation',
    'managedFields',
    'ownerReferences',
    'resourceVersion',
    'selfLink',
  ),
};

/** Metadata of a Namespace, whose name is shorter than others. */
export const namespaceMetadata: z.ZodType<ClusterMetadata> = z.strictObject({
  name: namespaceName,
  ...metadataRest,
});

/** Metadata of an object that belongs to the cluster. */
export const clusterMetadata: z.ZodType<ClusterMetadata> = z.strictObject({
  name: objectName,
  ...metadataRest,
});

/** Metadata of an object that belongs to a namespace; without one it is in `default`. */
export const namespacedMetadata: z.ZodType<NamespacedMetadata> = z.strictObject({
  name: objectName,
  namespace: namespaceName.default('default'),
  ...metadataRest,
});

function problemsOf(issue: z.core.$ZodIssue): FieldProblem[] {
  const path = issue.path.map((part) => (typeof part === 'symbol' ? String(part) : part));
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({ path: [...path, key], message: 'unknown field' }));
  }
  const missing = issue.code === 'invalid_type' && issue.input === undefined;
  return [{ path, message: missing ? 'missing' : issue.message }];
}

/** Checks a manifest against a schema, and turns what passes into an object. */
export function readWith<T>(
  schema: z.ZodType<T>,
  manifest: unknown,
  convert: (checked: T) => ReadResult,
): ReadResult {
  const checked = schema.safeParse(manifest, { reportInput: true });
  return checked.success
    ? convert(checked.data)
    : { ok: false, problems: checked.error.issues.flatMap(problemsOf) };
}
