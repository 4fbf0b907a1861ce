// SPDX-License-Identifier: Apache-2.0
// The manifests of a lab for measuring: two nodes, and for each variant a namespace with a client
// and three servers.
import { stringify } from 'yaml';
import { type End, ends, nodeOf, podOf, type Variant } from './variants/variant.ts';

/** Ports of the servers that every pod but the client runs. */
export const serverPorts = { pingPong: 7000, bulk: 7001, idle: 7002, http: 8080 } as const;

/** Most variants of one lab: their addresses have to fit. */
export const variantsMax = 20;

const modeLabel = 'istio.io/dataplane-mode';
const hostOf: Readonly<Record<End, number>> = { client: 0, neighbour: 1, server: 0, sink: 1 };

function object(kind: string, metadata: object, more: object = {}): object {
  return { apiVersion: 'v1', kind, metadata, ...more };
}

function containersOf(end: End): object[] {
  if (end === 'client') {
    return [{ name: 'shell', command: ['sleep', 'infinity'] }];
  }
  const { http, pingPong, bulk } = serverPorts;
  const port = (containerPort: number) => ({ ports: [{ containerPort }] });
  const nginx = ['nginx', '-p', '$(POD_DIR)', '-c', '$(MESH_DIR)/nginx.conf'];
  const sockperf = ['sockperf', 'server', '--tcp', '-p', String(pingPong)];
  const iperf = ['iperf3', '--server', '--port', String(bulk)];
  return [
    { name: 'web', command: nginx, ...port(http) },
    { name: 'pingpong', command: sockperf, ...port(pingPong) },
    { name: 'bulk', command: iperf, ...port(bulk) },
  ];
}

/** Labels of pods, by their names. */
export type PodLabels = Readonly<Record<string, Readonly<Record<string, string>>>>;

function podObject(variant: Variant, end: End, index: number, all: PodLabels): object {
  const name = podOf(variant, end);
  const labels = all[name] === undefined ? {} : { labels: all[name] };
  const { annotations = {} } = variant;
  const node = nodeOf[end];
  const net = node === 'node-a' ? 1 : 2;
  const host = 10 + 2 * index + hostOf[end];
  const podIPs = [{ ip: `10.77.${net}.${host}` }, { ip: `fd77:0:0:${net}::${host}` }];
  return object(
    'Pod',
    { name, namespace: variant.name, annotations, ...labels },
    {
      spec: { nodeName: node, serviceAccountName: end, containers: containersOf(end) },
      status: { podIPs },
    },
  );
}

function objectsOf(variant: Variant, index: number, podLabels: PodLabels): object[] {
  const { name, meshed } = variant;
  const labels = meshed ? { labels: { [modeLabel]: 'ambient' } } : {};
  return [
    object('Namespace', { name, ...labels }),
    ...ends.map((end) => object('ServiceAccount', { name: end, namespace: name })),
    ...ends.map((end) => podObject(variant, end, index, podLabels)),
  ];
}

/** YAML of the nodes and of every variant's namespace and pods. */
export function meshOf(variants: readonly Variant[], labels: PodLabels = {}): string {
  if (variants.length > variantsMax) {
    throw new RangeError(`over ${variantsMax} variants`);
  }
  const nodes = [...new Set(Object.values(nodeOf))].map((name) => object('Node', { name }));
  const pods = variants.flatMap((variant, index) => objectsOf(variant, index, labels));
  return [...nodes, ...pods].map((each) => stringify(each)).join('---\n');
}
