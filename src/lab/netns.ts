// SPDX-License-Identifier: Apache-2.0
// Builds the lab's network namespaces and cables.
import { readdirSync } from 'node:fs';
import { mustRun, runProgram } from '../lib/program.ts';
import type { LabNames, LabPlan, NodePlan, PodPlan } from './topology.ts';

const netnsFolder = '/run/netns';

/** The file of a network namespace. */
export function netnsPath(netns: string): string {
  return `${netnsFolder}/${netns}`;
}

async function ip(netns: string, lines: readonly string[]): Promise<void> {
  await mustRun('ip', ['-n', netns, '-batch', '-'], { input: `${lines.join('\n')}\n` });
}

async function sysctl(netns: string, settings: readonly string[]): Promise<void> {
  await mustRun('nsenter', [`--net=${netnsPath(netns)}`, 'sysctl', '-q', '-w', ...settings]);
}

async function make(netns: string): Promise<void> {
  await mustRun('ip', ['netns', 'add', netns]);
  // Answers on asymmetric ways are the point of transparent proxying.
  await sysctl(netns, ['net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.default.rp_filter=0']);
  await ip(netns, ['link set lo up']);
}

// Every node hangs on a bridge in the control plane's namespace.
async function buildNode(plan: LabPlan, node: NodePlan): Promise<void> {
  const control = plan.control.netns;
  await make(node.netns);
  await sysctl(node.netns, ['net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1']);
  await ip(node.netns, [
    `link add uplink type veth peer name ${node.name} netns ${control}`,
    `addr add ${node.ipv4}/24 dev uplink`,
    `addr add ${node.ipv6}/64 dev uplink nodad`,
    'link set uplink up',
  ]);
  await ip(control, [
    `link set ${node.name} master fabric`,
    `link set ${node.name} up`,
    `route add ${node.podRange4} via ${node.ipv4}`,
    `route add ${node.podRange6} via ${node.ipv6}`,
  ]);
}

async function routeBetween(nodes: readonly NodePlan[]): Promise<void> {
  for (const node of nodes) {
    const others = nodes.filter((other) => other !== node);
    await ip(
      node.netns,
      others.flatMap((other) => [
        `route add ${other.podRange4} via ${other.ipv4}`,
        `route add ${other.podRange6} via ${other.ipv6}`,
      ]),
    );
  }
}

/** Makes a pod's namespace and its cable to the node. The node is its way to everywhere. */
export async function buildPod(node: NodePlan, pod: PodPlan): Promise<void> {
  const gateway = node.podRange4.replace(/0\/24$/, '1');
  await make(pod.netns);
  await ip(pod.netns, [
    `link add eth0 type veth peer name ${pod.link} netns ${node.netns}`,
    `addr add ${pod.ipv4}/32 dev eth0`,
    `addr add ${pod.ipv6}/128 dev eth0 nodad`,
    'link set eth0 up',
  ]);
  await ip(node.netns, [
    `addr add ${gateway}/32 dev ${pod.link}`,
    `addr add fe80::1/64 dev ${pod.link} nodad`,
    `link set ${pod.link} up`,
    `route add ${pod.ipv4}/32 dev ${pod.link}`,
    `route add ${pod.ipv6}/128 dev ${pod.link}`,
  ]);
  await ip(pod.netns, [
    `route add ${gateway}/32 dev eth0`,
    `route add default via ${gateway}`,
    'route add ::/0 via fe80::1 dev eth0',
  ]);
}

/** Removes one namespace with all in it; one that is not there is no error. */
export async function removeNetns(netns: string): Promise<void> {
  await runProgram('ip', ['netns', 'del', netns]);
}

/** Builds the whole plan. */
export async function buildNetwork(plan: LabPlan): Promise<void> {
  const { control, nodes, pods } = plan;
  await make(control.netns);
  await ip(control.netns, [
    'link add fabric type bridge',
    `addr add ${control.ipv4}/24 dev fabric`,
    `addr add ${control.ipv6}/64 dev fabric nodad`,
    'link set fabric up',
  ]);
  for (const node of nodes) {
    await buildNode(plan, node);
  }
  await routeBetween(nodes);
  for (const pod of pods) {
    const node = nodes.find(({ name }) => name === pod.node);
    if (node !== undefined) {
      await buildPod(node, pod);
    }
  }
}

/** Removes every namespace with the lab's prefix, also those of a lab that was killed. */
export async function removeNetwork(names: LabNames): Promise<void> {
  for (const netns of listNetns(names)) {
    await removeNetns(netns);
  }
}

/** The lab's namespaces that exist. */
export function listNetns(names: LabNames): string[] {
  try {
    return readdirSync(netnsFolder).filter((name) => name.startsWith(names.netnsPrefix));
  } catch {
    return [];
  }
}
