// SPDX-License-Identifier: Apache-2.0
// Istio's AuthorizationPolicy and PeerAuthentication. Every field is read or refused: a policy must
// mean what it says.
import { z } from 'zod';
import { translatePolicy } from '../mesh/policy.ts';
import {
  labels,
  listEntriesMax,
  namespacedMetadata,
  portText,
  type Reader,
  type ReadResult,
  readWith,
  unread,
} from './fields.ts';

// An empty list in a policy is more likely a mistake than a wish, and its meaning is not obvious.
const values = z
  .array(z.string().min(1).max(2048))
  .min(1, 'empty list')
  .max(listEntriesMax)
  .optional();

function isSet(fields: object): boolean {
  return Object.values(fields).some((field) => field !== undefined);
}

const source = z
  .strictObject({
    principals: values,
    notPrincipals: values,
    namespaces: values,
    notNamespaces: values,
    serviceAccounts: values,
    notServiceAccounts: values,
    ipBlocks: values,
    notIpBlocks: values,
    requestPrincipals: values,
    notRequestPrincipals: values,
    remoteIpBlocks: values,
    notRemoteIpBlocks: values,
  })
  .refine(isSet, 'a source needs at least one field')
  .refine(
    (from) =>
      (from.serviceAccounts ?? from.notServiceAccounts) === undefined ||
      (from.principals ?? from.notPrincipals ?? from.namespaces ?? from.notNamespaces) ===
        undefined,
    'service accounts cannot stand beside principals or namespaces',
  );

const operation = z
  .strictObject({
    ports: values,
    notPorts: values,
    hosts: values,
    notHosts: values,
    methods: values,
    notMethods: values,
    paths: values,
    notPaths: values,
  })
  .refine(isSet, 'an operation needs at least one field');

const condition = z
  .strictObject({ key: z.string().min(1).max(256), values, notValues: values })
  .refine(
    (when) => (when.values ?? when.notValues) !== undefined,
    'a condition needs values or notValues',
  );

const rule = z.strictObject({
  from: z.array(z.strictObject({ source })).min(1, 'empty list').max(512).optional(),
  to: z.array(z.strictObject({ operation })).min(1, 'empty list').max(512).optional(),
  when: z.array(condition).min(1, 'empty list').max(512).optional(),
});

// Left out, such a DENY would let everything in.
const notL4 = z.custom<undefined>(
  (value) => value === undefined,
  'a policy for a waypoint is not enforced at L4; write a selector',
);

const authorizationPolicy = z.strictObject({
  apiVersion: z.enum(['security.istio.io/v1', 'security.istio.io/v1beta1']),
  kind: z.literal('AuthorizationPolicy'),
  metadata: namespacedMetadata,
  // A manifest without `spec` is Istio's shortest way to say "deny all".
  spec: z
    .strictObject({
      selector: z.strictObject({ matchLabels: labels }).optional(),
      action: z
        .enum(
          ['ALLOW', 'DENY'],
          'only ALLOW and DENY can be enforced here; AUDIT and CUSTOM are not supported',
        )
        .default('ALLOW'),
      rules: z.array(rule).max(512).default([]),
      targetRef: notL4.optional(),
      targetRefs: notL4.optional(),
    })
    .prefault({}),
  ...unread('status'),
});

const dryRunAnnotation = 'istio.io/dry-run';

function policyOf({ metadata, spec }: z.infer<typeof authorizationPolicy>): ReadResult {
  const translation = translatePolicy({
    namespace: metadata.namespace,
    name: metadata.name,
    selector: spec.selector?.matchLabels,
    action: spec.action,
    rules: spec.rules,
    dryRun: metadata.annotations[dryRunAnnotation] === 'true',
  });
  return translation.ok
    ? { ok: true, object: { kind: 'AuthorizationPolicy', value: translation.policy } }
    : translation;
}

const modes = {
  UNSET: 'unset',
  DISABLE: 'disable',
  PERMISSIVE: 'permissive',
  STRICT: 'strict',
} as const;

const mode = z
  .strictObject({ mode: z.enum(['UNSET', 'DISABLE', 'PERMISSIVE', 'STRICT']).default('UNSET') })
  .transform(({ mode: name }) => modes[name]);

const peerAuthentication = z.strictObject({
  apiVersion: z.enum(['security.istio.io/v1', 'security.istio.io/v1beta1']),
  kind: z.literal('PeerAuthentication'),
  metadata: namespacedMetadata,
  spec: z
    .strictObject({
      selector: z.strictObject({ matchLabels: labels }).optional(),
      mtls: mode.optional(),
      portLevelMtls: z.record(portText, mode).default({}),
    })
    .refine(
      ({ selector, portLevelMtls }) =>
        selector !== undefined || Object.keys(portLevelMtls).length === 0,
      { path: ['portLevelMtls'], error: 'ports can differ only where a selector says whose' },
    )
    .prefault({}),
  ...unread('status'),
});

function peerAuthenticationOf({
  metadata: { namespace, name },
  spec,
}: z.infer<typeof peerAuthentication>): ReadResult {
  const value = {
    namespace,
    name,
    selector: spec.selector?.matchLabels,
    mode: spec.mtls ?? 'unset',
    ports: new Map(Object.entries(spec.portLevelMtls).map(([text, at]) => [Number(text), at])),
  };
  return { ok: true, object: { kind: 'PeerAuthentication', value } };
}

const readPeer: Reader = (manifest) => readWith(peerAuthentication, manifest, peerAuthenticationOf);

const read: Reader = (manifest) => readWith(authorizationPolicy, manifest, policyOf);

/** The readers of Istio's security kinds, by `apiVersion` and kind. */
export const securityReaders: Readonly<Record<string, Reader>> = {
  'security.istio.io/v1/AuthorizationPolicy': read,
  'security.istio.io/v1beta1/AuthorizationPolicy': read,
  'security.istio.io/v1/PeerAuthentication': readPeer,
  'security.istio.io/v1beta1/PeerAuthentication': readPeer,
};
