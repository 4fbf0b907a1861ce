// SPDX-License-Identifier: Apache-2.0
// The plan of a lab: names and addresses, nothing is made here.
import { isIP } from 'node:net';
import { MeshError } from '../lib/error.ts';
import type { ContainerObject, PodObject, PodWords } from './mesh-files.ts';

/** Where a lab keeps what it makes. Everything of one lab is found again by these names. */
export interface LabNames {
  /** Every network namespace of the lab begins with it. */
  readonly netnsPrefix: string;
  /** Cgroup v2 folder of all the lab's processes. */
  readonly cgroup: string;
  /** Sockets, state, logs and keys; 0700. */
  readonly folder: string;
  /** Keys of the nodes' proxies: in memory, on whatever machine. */
  readonly keys: string;
}

/** A network namespace on the fabric: a node, or the control plane's. */
export interface HostPlan {
  readonly name: string;
  readonly netns: string;
  readonly ipv4: string;
  readonly ipv6: string;
}

/** A node and the addresses of its pods. */
export interface NodePlan extends HostPlan {
  readonly podRange4: string;
  readonly podRange6: string;
}

/** A pod with its namespace. */
export interface PodPlan {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly node: string;
  readonly serviceAccount: string;
  readonly netns: string;
  readonly ipv4: string;
  readonly ipv6: string;
  /** The node's end of the pod's cable. */
  readonly link: string;
  readonly enrolled: boolean;
  /** What it says of its capture, and its namespace. */
  readonly settings: PodWords;
  readonly ofNamespace: PodWords;
  readonly containers: readonly ContainerObject[];
}

/** Everything a lab consists of. */
export interface LabPlan {
  readonly names: LabNames;
  readonly control: HostPlan;
  readonly nodes: readonly NodePlan[];
  readonly pods: readonly PodPlan[];
}

const namePattern = /^[a-z][a-z0-9]{0,9}$/;
const podName = /^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/;

/** The names of the lab called `name` on a machine whose cgroup v2 root is `cgroupRoot`. */
export function labNames(name: string, cgroupRoot: string): LabNames {
  if (!namePattern.test(name)) {
    throw new MeshError('invalid', `a lab's name is 1 to 10 small letters and digits: ${name}`);
  }
  return {
    netnsPrefix: `weft-${name}-`,
    cgroup: `${cgroupRoot}/weft-${name}`,
    folder: `/run/weft/${name}`,
    keys: `/dev/shm/weft/${name}`,
  };
}

function nodePlan(names: LabNames, letter: string, index: number): NodePlan {
  return {
    name: `node-${letter}`,
    netns: `${names.netnsPrefix}node-${letter}`,
    ipv4: `10.77.0.${10 + index}`,
    ipv6: `fd77::${10 + index}`,
    podRange4: `10.77.${index}.0/24`,
    podRange6: `fd77:0:0:${index}::/64`,
  };
}

function addressesOf(pod: PodObject, node: NodePlan): { ipv4: string; ipv6: string } {
  const prefix4 = node.podRange4.replace(/0\/24$/, '');
  const prefix6 = node.podRange6.replace(/\/64$/, '');
  const ipv4 = pod.addresses.find((ip) => isIP(ip) === 4 && ip.startsWith(prefix4));
  const ipv6 = pod.addresses.find((ip) => isIP(ip) === 6 && ip.startsWith(prefix6));
  if (ipv4 === undefined || ipv6 === undefined) {
    const want = `${node.podRange4} and ${node.podRange6}`;
    throw new MeshError('invalid', `pod ${pod.name}: status.podIPs needs addresses of ${want}`);
  }
  return { ipv4, ipv6 };
}

/** Plans one pod. Throws MeshError `invalid` when the lab cannot build it. */
export function planPod(names: LabNames, nodes: readonly NodePlan[], pod: PodObject): PodPlan {
  const node = nodes.find(({ name }) => name === pod.node);
  if (node === undefined) {
    throw new MeshError('invalid', `pod ${pod.name}: the lab has no node ${pod.node}`);
  }
  if (!podName.test(pod.name)) {
    throw new MeshError('invalid', `pod ${pod.name}: its name cannot name a namespace here`);
  }
  const { ipv4, ipv6 } = addressesOf(pod, node);
  const { name, namespace, uid, serviceAccount, enrolled, containers } = pod;
  const { settings, ofNamespace } = pod;
  return {
    ...{ name, namespace, uid, serviceAccount, enrolled, containers, ipv4, ipv6 },
    ...{ settings, ofNamespace },
    node: node.name,
    netns: `${names.netnsPrefix}pod-${pod.name}`,
    link: `pod${ipv4.slice(ipv4.lastIndexOf('.') + 1)}`,
  };
}

function checkDistinct(pods: readonly PodPlan[]): void {
  for (const field of ['name', 'uid', 'ipv4', 'ipv6'] as const) {
    const seen = new Set<string>();
    for (const pod of pods) {
      if (seen.has(pod[field])) {
        throw new MeshError('invalid', `two pods with the ${field} ${pod[field]}`);
      }
      seen.add(pod[field]);
    }
  }
}

/** Plans a lab of two nodes with these pods. Throws MeshError `invalid`. */
export function planLab(names: LabNames, pods: readonly PodObject[]): LabPlan {
  const nodes = [nodePlan(names, 'a', 1), nodePlan(names, 'b', 2)];
  const planned = pods.map((pod) => planPod(names, nodes, pod));
  checkDistinct(planned);
  const netns = `${names.netnsPrefix}control`;
  return {
    names,
    control: { name: 'control', netns, ipv4: '10.77.0.1', ipv6: 'fd77::1' },
    nodes,
    pods: planned,
  };
}
