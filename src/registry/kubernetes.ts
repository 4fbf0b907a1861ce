// SPDX-License-Identifier: Apache-2.0
// The Kubernetes kinds. What Weft reads of them is checked strictly; the other fields of a kind are
// known by name and taken as they are, so that a misspelt field is seen.
import { z } from 'zod';
import { settingAnnotations } from '../lib/pod-settings.ts';
import type { AppProtocol, Labels, TrafficDistribution } from '../mesh/objects.ts';
import type { FieldProblem } from '../mesh/policy.ts';
import {
  address,
  addressBytes,
  appProtocols,
  clusterMetadata,
  dnsLabel,
  labels,
  listEntriesMax,
  namespacedMetadata,
  namespaceMetadata,
  objectName,
  port,
  type Reader,
  type ReadResult,
  readWith,
  unread,
} from './fields.ts';

/** With annotations of ours that say something: the agent would refuse the pod for others. */
function withSettings<T extends { readonly annotations: Labels }>(
  metadata: z.ZodType<T>,
): z.ZodType<T> {
  return metadata.superRefine(({ annotations }, context) => {
    for (const [name, ways] of Object.entries(settingAnnotations)) {
      const said = annotations[name];
      if (said !== undefined && !ways.includes(said)) {
        const message = `not one of ${ways.join(', ')}`;
        context.addIssue({ code: 'custom', path: ['annotations', name], message });
      }
    }
  });
}

const namespace = z.strictObject({
  apiVersion: z.literal('v1'),
  kind: z.literal('Namespace'),
  metadata: withSettings(namespaceMetadata),
  ...unread('spec', 'status'),
});

const node = z.strictObject({
  apiVersion: z.literal('v1'),
  kind: z.literal('Node'),
  metadata: clusterMetadata,
  ...unread('spec', 'status'),
});

const serviceAccount = z.strictObject({
  apiVersion: z.literal('v1'),
  kind: z.literal('ServiceAccount'),
  metadata: namespacedMetadata,
  ...unread('automountServiceAccountToken', 'imagePullSecrets', 'secrets'),
});

const container = z.looseObject({
  name: z.string().optional(),
  ports: z
    .array(z.looseObject({ name: z.string().optional(), containerPort: port }))
    .max(listEntriesMax)
    .optional(),
});

const pod = z.strictObject({
  apiVersion: z.literal('v1'),
  kind: z.literal('Pod'),
  metadata: withSettings(namespacedMetadata),
  spec: z.strictObject({
    nodeName: objectName,
    serviceAccountName: objectName.default('default'),
    hostNetwork: z.boolean().default(false),
    hostname: dnsLabel.default(''),
    subdomain: dnsLabel.default(''),
    containers: z.array(container).max(listEntriesMax).default([]),
    initContainers: z.array(container).max(listEntriesMax).default([]),
    ...unread(
      'activeDeadlineSeconds',
      'affinity',
      'automountServiceAccountToken',
      'dnsConfig',
      'dnsPolicy',
      'enableServiceLinks',
      'ephemeralContainers',
      'hostAliases',
      'hostIPC',
      'hostPID',
      'hostUsers',
      'hostnameOverride',
      'imagePullSecrets',
      'nodeSelector',
      'os',
      'overhead',
      'preemptionPolicy',
      'priority',
      'priorityClassName',
      'readinessGates',
      'resourceClaims',
      'resources',
      'restartPolicy',
      'runtimeClassName',
      'schedulerName',
      'schedulingGates',
      'securityContext',
      'serviceAccount',
      'setHostnameAsFQDN',
      'shareProcessNamespace',
      'terminationGracePeriodSeconds',
      'tolerations',
      'topologySpreadConstraints',
      'volumes',
    ),
  }),
  status: z
    .looseObject({
      podIP: address.optional(),
      podIPs: z
        .array(z.strictObject({ ip: address }))
        .max(16)
        .optional(),
      phase: z.enum(['Pending', 'Running', 'Succeeded', 'Failed', 'Unknown']).optional(),
      conditions: z
        .array(z.looseObject({ type: z.string(), status: z.string() }))
        .max(listEntriesMax)
        .optional(),
    })
    .default({}),
});

const servicePort = z.strictObject({
  port,
  targetPort: z.union([port, z.string().min(1).max(63)], 'not a port or a port name').optional(),
  protocol: z.enum(['TCP', 'UDP', 'SCTP']).default('TCP'),
  name: z.string().max(63).optional(),
  appProtocol: z.string().max(316).optional(),
  ...unread('nodePort'),
});

const clusterIp = z.union([address, z.literal('None'), z.literal('')], 'not an IP address or None');

const service = z.strictObject({
  apiVersion: z.literal('v1'),
  kind: z.literal('Service'),
  metadata: namespacedMetadata,
  spec: z.strictObject({
    clusterIP: clusterIp.optional(),
    clusterIPs: z.array(clusterIp).max(16).optional(),
    ports: z.array(servicePort).max(1_000).default([]),
    selector: labels.optional(),
    type: z.enum(['ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName']).optional(),
    publishNotReadyAddresses: z.boolean().default(false),
    internalTrafficPolicy: z.enum(['Cluster', 'Local']).default('Cluster'),
    trafficDistribution: z.enum(['PreferClose', 'PreferSameZone', 'PreferSameNode']).optional(),
    ...unread(
      'allocateLoadBalancerNodePorts',
      'externalIPs',
      'externalName',
      'externalTrafficPolicy',
      'healthCheckNodePort',
      'ipFamilies',
      'ipFamilyPolicy',
      'loadBalancerClass',
      'loadBalancerIP',
      'loadBalancerSourceRanges',
      'sessionAffinity',
      'sessionAffinityConfig',
    ),
  }),
  ...unread('status'),
});

type PodManifest = z.infer<typeof pod>;
type ServiceManifest = z.infer<typeof service>;
type PortManifest = z.infer<typeof servicePort>;

// A pod without conditions comes from a hand-written file: it is taken to be ready.
function isReady({ phase, conditions }: PodManifest['status']): boolean {
  const ready = conditions?.find(({ type }) => type === 'Ready');
  return phase !== 'Pending' && (ready === undefined || ready.status === 'True');
}

function podOf({ metadata, spec, status }: PodManifest): ReadResult {
  const ports = [...spec.containers, ...spec.initContainers].flatMap(({ ports: list = [] }) =>
    list.flatMap(({ name, containerPort }) =>
      name === undefined ? [] : [{ name, port: containerPort }],
    ),
  );
  const value = {
    namespace: metadata.namespace,
    name: metadata.name,
    labels: metadata.labels,
    node: spec.nodeName,
    serviceAccount: spec.serviceAccountName,
    hostNetwork: spec.hostNetwork,
    addresses: addressBytes([status.podIP, ...(status.podIPs ?? []).map(({ ip }) => ip)]),
    ports,
    finished: status.phase === 'Succeeded' || status.phase === 'Failed',
    // A pod that is being deleted takes no new connections.
    ready: isReady(status) && metadata.deletionTimestamp === undefined,
    hostname: spec.hostname,
    subdomain: spec.subdomain,
  };
  return { ok: true, object: { kind: 'Pod', value } };
}

// The name of a port says its protocol when nothing else does: `grpc`, or `http-web`.
function appProtocolOf({ appProtocol, name = '' }: PortManifest): AppProtocol | undefined {
  return appProtocols.get(appProtocol ?? name.split('-')[0] ?? '');
}

const externalName: FieldProblem = {
  path: ['spec', 'type'],
  message: 'ExternalName is a DNS alias, not a service of the mesh; write a ServiceEntry',
};

function distributionOf(spec: ServiceManifest['spec']): TrafficDistribution {
  if (spec.internalTrafficPolicy === 'Local') {
    return 'onlySameNode';
  }
  if (spec.trafficDistribution === undefined) {
    return 'any';
  }
  return spec.trafficDistribution === 'PreferSameNode' ? 'preferSameNode' : 'preferSameZone';
}

function serviceOf({ metadata, spec }: ServiceManifest): ReadResult {
  if (spec.type === 'ExternalName') {
    return { ok: false, problems: [externalName] };
  }
  const addresses = [spec.clusterIP, ...(spec.clusterIPs ?? [])];
  const tcp = spec.ports.filter(({ protocol }) => protocol === 'TCP');
  const ports = tcp.map((entry) => {
    const appProtocol = appProtocolOf(entry);
    const target = entry.targetPort ?? entry.port;
    const name = entry.name ?? '';
    return {
      name,
      port: entry.port,
      target,
      ...(appProtocol === undefined ? {} : { appProtocol }),
    };
  });
  const selector = spec.selector ?? {};
  const value = {
    namespace: metadata.namespace,
    name: metadata.name,
    addresses: addressBytes(addresses.filter((text) => text !== 'None' && text !== '')),
    ports,
    selector: Object.keys(selector).length === 0 ? undefined : selector,
    distribution: distributionOf(spec),
    allowNotReady: spec.publishNotReadyAddresses,
  };
  return { ok: true, object: { kind: 'Service', value } };
}

/** The readers of the Kubernetes kinds, by `apiVersion` and kind. */
export const kubernetesReaders: Readonly<Record<string, Reader>> = {
  'v1/Namespace': (manifest) =>
    readWith(namespace, manifest, ({ metadata: { name, labels: own } }) => ({
      ok: true,
      object: { kind: 'Namespace', value: { name, labels: own } },
    })),
  'v1/Node': (manifest) =>
    readWith(node, manifest, ({ metadata: { name, labels: own } }) => ({
      ok: true,
      object: { kind: 'Node', value: { name, labels: own } },
    })),
  'v1/ServiceAccount': (manifest) =>
    readWith(serviceAccount, manifest, ({ metadata: { namespace: space, name } }) => ({
      ok: true,
      object: { kind: 'ServiceAccount', value: { namespace: space, name } },
    })),
  'v1/Pod': (manifest) => readWith(pod, manifest, podOf),
  'v1/Service': (manifest) => readWith(service, manifest, serviceOf),
};
