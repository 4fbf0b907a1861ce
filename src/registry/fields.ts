// SPDX-License-Identifier: Apache-2.0
// The parts that the schemas of all kinds share, and the step from a schema to a checked object.
import { z } from 'zod';
import { parseIp } from '../lib/ip.ts';
import type {
  Labels,
  Namespace,
  Node,
  Pod,
  Policy,
  Service,
  ServiceAccount,
} from '../mesh/objects.ts';
import type { FieldProblem } from '../mesh/policy.ts';

/** An object of the registry with its kind. */
export type RegistryObject =
  | { readonly kind: 'Namespace'; readonly value: Namespace }
  | { readonly kind: 'Node'; readonly value: Node }
  | { readonly kind: 'ServiceAccount'; readonly value: ServiceAccount }
  | { readonly kind: 'Pod'; readonly value: Pod }
  | { readonly kind: 'Service'; readonly value: Service }
  | { readonly kind: 'AuthorizationPolicy'; readonly value: Policy };

/** A kind that is read. */
export type Kind = RegistryObject['kind'];

/** What reading one manifest came to: an object, or everything that is wrong with it. */
export type ReadResult =
  | { readonly ok: true; readonly object: RegistryObject }
  | { readonly ok: false; readonly problems: readonly FieldProblem[] };

/** Reads one manifest, already parsed from YAML. */
export type Reader = (manifest: unknown) => ReadResult;

/** The metadata of an object that belongs to the cluster. */
export interface ClusterMetadata {
  readonly name: string;
  readonly labels: Labels;
  readonly annotations: Labels;
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
