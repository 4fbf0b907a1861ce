// SPDX-License-Identifier: Apache-2.0
// How each part of a lab is started, and when it counts as ready.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { commandOf } from '../lib/node-processes.ts';
import { ports } from '../lib/ports.ts';
import { mustRun } from '../lib/program.ts';
import { agentReady, enrolPod } from './cni-client.ts';
import { readLog } from './log-watch.ts';
import { netnsPath } from './netns.ts';
import type { Places } from './places.ts';
import { listens, type ProcessSet } from './process-set.ts';
import {
  nameserversOf,
  resolvConfOf,
  resolverCommand,
  withResolvConf,
  writeResolvConf,
} from './resolver.ts';
import type { LabPlan, NodePlan, PodPlan } from './topology.ts';

/** What the parts of one lab have in common. */
export interface LabParts {
  readonly plan: LabPlan;
  readonly places: Places;
  readonly processes: ProcessSet;
}

const labFolder: string = import.meta.dirname;

/** Starts the control plane and the pods' upstream resolver; resolves when the former is ready. */
export async function startControl({ plan, places, processes }: LabParts): Promise<void> {
  const { control } = plan;
  const args = ['--config', places.mesh, '--state', places.controlState];
  const sans = ['--san', control.ipv4, '--san', control.ipv6];
  const command = commandOf('control', [...args, ...sans]);
  const started = await processes.spawn('control', control.netns, command);
  await processes.waitFor('the control plane', [started], async () =>
    readLog(started.logFile, 0).records.some((record) => record['msg'] === 'ready'),
  );
  await processes.spawn('resolver', control.netns, resolverCommand(plan));
}

async function mintToken(places: Places, node: NodePlan): Promise<string> {
  const args = ['create', '--node', node.name, '--state', places.controlState];
  const [program = '', ...words] = commandOf('token', args);
  const token = await mustRun(program, words);
  const file = join(places.folder(node.name), 'join-token');
  writeFileSync(file, token, { mode: 0o600 });
  return file;
}

/** Starts a node's agent and its proxy; resolves when the proxy has joined and hears the agent. */
export async function startNode(
  { plan, places, processes }: LabParts,
  node: NodePlan,
  proxyFlags: readonly string[],
): Promise<void> {
  mkdirSync(places.folder(node.name), { recursive: true, mode: 0o700 });
  const api = places.api(node.name);
  const proxyCgroup = places.cgroup(`${node.name}/ztunnel`);
  // The agent writes its id into the rules, so it comes before the proxy.
  mkdirSync(proxyCgroup, { recursive: true });
  const probeCgroup = places.cgroup(`${node.name}/kubelet`);
  mkdirSync(probeCgroup, { recursive: true });
  const pins = ['--bpf-pins', places.bpfPins(node.name)];
  const cgroups = ['--proxy-cgroup', proxyCgroup, '--probe-cgroup', probeCgroup];
  const common = ['--node', node.name, '--zds', places.zds(node.name)];
  const agent = commandOf('cni', [
    ...common,
    ...pins,
    ...cgroups,
    ...['--api', api, '--pods-cgroup', places.names.cgroup],
  ]);
  const cni = await processes.spawn(`${node.name}/cni`, node.netns, agent);
  const token = await mintToken(places, node);
  const join_ = ['--control', `${plan.control.ipv4}:${ports.control}`, '--join-token', token];
  const state = ['--state', places.proxyState(node.name), '--keys', places.proxyKeys(node.name)];
  const proxy = commandOf('ztunnel', [...common, ...pins, ...join_, ...state, ...proxyFlags]);
  const ztunnel = await processes.spawn(`${node.name}/ztunnel`, node.netns, proxy);
  await processes.waitFor(`${node.name}'s proxy`, [cni, ztunnel], () => agentReady(api));
}

/** Enrols a pod and starts its containers' programs; resolves when their ports have listeners. */
export async function startPod({ plan, places, processes }: LabParts, pod: PodPlan): Promise<void> {
  const folder = places.pod(pod.name);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  mkdirSync(places.cgroup(`pods/${pod.name}`), { recursive: true });
  writeResolvConf(plan, pod);
  // As a runtime does it: the network is ready before any process of the pod runs.
  if (pod.enrolled) {
    await enrolPod(places.api(pod.node), pod, nameserversOf(plan));
  }
  const values: Record<string, string> = {
    POD_DIR: folder,
    MESH_DIR: places.mesh,
    LAB_DIR: labFolder,
    NODE: process.execPath,
  };
  for (const { name, command, ports: wanted } of pod.containers) {
    const expanded = command.map((text) => expand(text, values));
    const started = await processes.spawn(
      `pods/${pod.name}/${name}`,
      pod.netns,
      asPod(places, pod.name, expanded),
      folder,
    );
    const what = `${pod.name}/${name}: ports ${wanted.join(', ')}`;
    await processes.waitFor(what, [started], async () => listens(started.pid, wanted));
  }
}

/** Resolves when the node's proxy says it is ready. Throws MeshError `timeout`. */
export async function waitReady({ processes }: LabParts, node: NodePlan): Promise<void> {
  const url = `http://127.0.0.1:${ports.readiness}/healthz/ready`;
  const ask = ['curl', '-s', '-f', '-m', '2', url];
  // Rejects while the answer is not 200, which counts as not ready yet.
  await processes.waitFor(`${node.name} is ready`, [], async () => {
    await mustRun('nsenter', [`--net=${netnsPath(node.netns)}`, '--', ...ask]);
    return true;
  });
}

/** The command line of a program as a pod runs it: with the pod's own resolv.conf. */
export function asPod(places: Places, pod: string, command: readonly string[]): string[] {
  return withResolvConf(resolvConfOf(places.names, pod), command);
}

/** Replaces `$(NAME)` as Kubernetes does; an unknown name stays as it is. */
export function expand(text: string, values: Readonly<Record<string, string>>): string {
  return text.replace(/\$\((\w+)\)/g, (whole, name: string) => values[name] ?? whole);
}
