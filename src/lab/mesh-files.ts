// SPDX-License-Identifier: Apache-2.0
// What the lab itself reads of the mesh's YAML: which pods to make. The control plane reads the
// same files and judges them; here only what cannot be built is an error.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { MeshError } from '../lib/error.ts';

/** A pod as the files describe it. */
export interface PodObject {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly node: string;
  readonly serviceAccount: string;
  readonly addresses: readonly string[];
  /** In the mesh by its own label or, without one, by its namespace's. */
  readonly enrolled: boolean;
  /** What it says of its own capture, and its namespace for those that say nothing. */
  readonly settings: PodWords;
  readonly ofNamespace: PodWords;
  readonly containers: readonly ContainerObject[];
}

/** What annotations say of how pods are captured and connected; the node's agent judges it. */
export interface PodWords {
  readonly capture?: string | undefined;
  readonly sameNode?: string | undefined;
  readonly bypass?: string | undefined;
}

/** One process of a pod. */
export interface ContainerObject {
  readonly name: string;
  readonly command: readonly string[];
  /** Ports it says it listens on. */
  readonly ports: readonly number[];
}

/** The label that puts a pod or a namespace into the mesh. */
export const modeLabel = 'istio.io/dataplane-mode';

/** The annotation by which a pod chooses how it is captured: ebpf or nft. */
export const captureAnnotation = 'weft.dev/capture';

/** And the one for its connections with pods of its own node: direct or tunnel. */
export const sameNodeAnnotation = 'weft.dev/same-node';

/** And the one for what those leave out besides the proxy: none or sockmap. */
export const bypassAnnotation = 'weft.dev/bypass';

/** Most YAML files the lab reads. */
export const filesMax = 1000;

const metadata = z.looseObject({
  name: z.string(),
  namespace: z.string().default('default'),
  uid: z.string().optional(),
  labels: z.record(z.string(), z.string()).default({}),
  annotations: z.record(z.string(), z.string()).default({}),
});

const container = z.looseObject({
  name: z.string().default('main'),
  command: z.array(z.string()).default([]),
  args: z.array(z.string()).default([]),
  ports: z.array(z.looseObject({ containerPort: z.number() })).default([]),
});

const podSchema = z.looseObject({
  metadata,
  spec: z.looseObject({
    nodeName: z.string(),
    serviceAccountName: z.string().default('default'),
    hostNetwork: z.boolean().default(false),
    containers: z.array(container).default([]),
  }),
  status: z.looseObject({ podIPs: z.array(z.looseObject({ ip: z.string() })).default([]) }),
});

type RawPod = z.infer<typeof podSchema>;

function documentsIn(file: string): unknown[] {
  return parseAllDocuments(readFileSync(file, 'utf8')).map((document) => {
    const [error] = document.errors;
    if (error !== undefined) {
      throw new MeshError('invalid', `${file}: ${error.message}`);
    }
    return document.toJS() as unknown;
  });
}

function kindOf(document: unknown): string {
  return typeof document === 'object' && document !== null && 'kind' in document
    ? String(document.kind)
    : '';
}

/** What a namespace says for those of its pods that do not. */
interface NamespaceWords {
  readonly mode: string | undefined;
  readonly annotations: Readonly<Record<string, string>>;
}

function wordsOf(annotations: Readonly<Record<string, string>>): PodWords {
  return {
    capture: annotations[captureAnnotation],
    sameNode: annotations[sameNodeAnnotation],
    bypass: annotations[bypassAnnotation],
  };
}

function podOf(pod: RawPod, namespaces: ReadonlyMap<string, NamespaceWords>): PodObject {
  const { name, namespace, uid, labels } = pod.metadata;
  const of = namespaces.get(namespace);
  const mode = labels[modeLabel] ?? of?.mode ?? 'none';
  return {
    name,
    namespace,
    uid: uid ?? `${namespace}/${name}`,
    node: pod.spec.nodeName,
    serviceAccount: pod.spec.serviceAccountName,
    settings: wordsOf(pod.metadata.annotations),
    ofNamespace: wordsOf(of?.annotations ?? {}),
    addresses: pod.status.podIPs.map(({ ip }) => ip),
    enrolled: mode === 'ambient' && !pod.spec.hostNetwork,
    containers: pod.spec.containers.map((each) => ({
      name: each.name,
      command: [...each.command, ...each.args],
      ports: each.ports.map(({ containerPort }) => containerPort),
    })),
  };
}

/** Reads every pod in the folder's YAML files. Throws MeshError `invalid` with the file's name. */
export function readPods(folder: string): PodObject[] {
  const files = readdirSync(folder).filter((name) => /\.ya?ml$/.test(name));
  if (files.length > filesMax) {
    throw new MeshError('limit', `${folder} has over ${filesMax} YAML files`);
  }
  const namespaces = new Map<string, NamespaceWords>();
  const pods: RawPod[] = [];
  for (const name of files) {
    const file = join(folder, name);
    for (const document of documentsIn(file)) {
      try {
        if (kindOf(document) === 'Namespace') {
          const { name, labels, annotations } = z
            .looseObject({ metadata })
            .parse(document).metadata;
          namespaces.set(name, { mode: labels[modeLabel], annotations });
        } else if (kindOf(document) === 'Pod') {
          pods.push(podSchema.parse(document));
        }
      } catch (error) {
        throw new MeshError('invalid', `${file}: ${MeshError.from(error).message}`);
      }
    }
  }
  return pods.map((pod) => podOf(pod, namespaces));
}
