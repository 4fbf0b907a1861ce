// SPDX-License-Identifier: Apache-2.0
// What Istio's ztunnel is told: the workloads from a file in the place of istiod, its settings in
// the environment, and the pods that it runs in itself, one on each node.
import { stringify } from 'yaml';
import type { NodePlan, PodPlan } from '../../lab/topology.ts';
import { trustDomain } from '../sidecars/svid-files.ts';

// What ztunnel takes its own cluster to be called.
const clusterId = 'Kubernetes';

/** Settings of one instance. */
export interface InstanceSettings {
  readonly node: string;
  /** File with the text of `workloadsOf`. */
  readonly workloadsFile: string;
  /** The socket on which the node's agent hands pods over. */
  readonly zds: string;
  /** Host and port of the certificate service, and a PEM file of the root that it shows. */
  readonly ca: string;
  readonly rootFile: string;
}

/** The pod that a node's instance runs in. */
export function instancePod(variant: string, node: string): string {
  return `${variant}-${node}`;
}

/** YAML of the pods as ztunnel's local configuration: all of them speak HBONE. */
export function workloadsOf(pods: readonly PodPlan[]): string {
  const workloads = pods.map(({ uid, name, namespace, serviceAccount, node, ipv4, ipv6 }) => ({
    ...{ uid: `${clusterId}//Pod/${uid}`, name, namespace, serviceAccount, node },
    ...{ workloadIps: [ipv4, ipv6], protocol: 'HBONE', services: {} },
    // Neither has a default here.
    ...{ trustDomain, clusterId },
  }));
  return stringify({ workloads, services: [], policies: [] });
}

/**
 * The environment of one instance, as NAME=value: in-pod mode, which is its default and what Istio
 * runs; one worker; nothing logged but errors, so no access log.
 */
export function environmentOf(settings: InstanceSettings): string[] {
  const { node, workloadsFile, zds, ca, rootFile } = settings;
  const values = {
    ...{ NODE_NAME: node, ZTUNNEL_WORKER_THREADS: '1', RUST_LOG: 'error' },
    // Empty: there is no istiod.
    ...{ XDS_ADDRESS: '', LOCAL_XDS_PATH: workloadsFile },
    ...{ CA_ADDRESS: `https://${ca}`, CA_ROOT_CA: rootFile, INPOD_UDS: zds },
  };
  return Object.entries(values).map(([name, value]) => `${name}=${value}`);
}

// Below the addresses of the variants' pods.
const hostNumber = 9;

/** Manifests of the pods that the instances run in, which nobody captures. */
export function instancePods(variant: string, nodes: readonly NodePlan[]): string {
  const serviceAccountName = 'proxy';
  const account = {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: { name: serviceAccountName, namespace: variant },
  };
  const pods = nodes.map(({ name: nodeName, podRange4, podRange6 }) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: instancePod(variant, nodeName), namespace: variant },
    spec: { nodeName, serviceAccountName, containers: [] },
    status: {
      podIPs: [
        { ip: podRange4.replace(/0\/24$/, String(hostNumber)) },
        { ip: podRange6.replace(/\/64$/, String(hostNumber)) },
      ],
    },
  }));
  return [account, ...pods].map((each) => stringify(each)).join('---\n');
}

/** The version in what `ztunnel version` prints; a build without one is known by its revision. */
export function versionOf(text: string): string | undefined {
  const version = /\bVersion:"([^"]+)"/.exec(text)?.[1];
  const revision = /^[0-9a-f]{12}(?=[0-9a-f]{28})/.exec(version ?? '')?.[0];
  return revision === undefined ? version : `of revision ${revision}`;
}
