// SPDX-License-Identifier: Apache-2.0
// Runs Istio's ztunnel as Istio does: an instance a node, in a pod of its own, that opens its
// sockets in the pods it serves. Weft's agent captures those and hands them over, since it speaks the
// same protocol with proxies; the rules in the pods are thus those that Weft is measured with.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { agentReady, enrolPod } from '../../lab/cni-client.ts';
import type { Lab } from '../../lab/lab.ts';
import { type LabProcess, tailOf } from '../../lab/processes.ts';
import { nameserversOf } from '../../lab/resolver.ts';
import { isAlive } from '../../lab/state.ts';
import type { PodPlan } from '../../lab/topology.ts';
import { MeshError } from '../../lib/error.ts';
import { commandOf } from '../../lib/node-processes.ts';
import { ports } from '../../lib/ports.ts';
import { waitListening } from '../sidecars/sidecar.ts';
import { SvidFolder } from '../sidecars/svid-files.ts';
import { cgroupIn, type End, ends, nodeOf, podOf, type Variant } from '../variants/variant.ts';
import { environmentOf, instancePod, instancePods, workloadsOf } from './config.ts';

type Named = Pick<Variant, 'name'>;

const caProgram: string = join(import.meta.dirname, 'ca.ts');
const caAccount = 'ca';
const startTimeoutMs = 15_000;

/** The cgroup of the instance that serves an end. */
export function instanceCgroup(lab: Lab, { name }: Named, end: End): string {
  return cgroupIn(lab, `pods/${instancePod(name, nodeOf[end])}/proxy`);
}

async function until(started: LabProcess, check: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + startTimeoutMs;
  while (!(await check().catch(() => false))) {
    if (!isAlive(started) || Date.now() > end) {
      throw new MeshError('unavailable', `${started.name}: ${tailOf(started.logFile)}`);
    }
    await wait(20);
  }
}

/** Names and files of a variant's instances in a lab. */
class Instances {
  readonly #lab: Lab;
  readonly #variant: Named;
  readonly #binary: string;

  constructor(lab: Lab, variant: Named, binary: string) {
    this.#lab = lab;
    this.#variant = variant;
    this.#binary = binary;
  }

  get #nodes(): string[] {
    return this.#lab.plan.nodes.map(({ name }) => name);
  }

  get #pods(): PodPlan[] {
    return ends.map((end) => this.#lab.pod(podOf(this.#variant, end)));
  }

  #podOn(node: string): string {
    return instancePod(this.#variant.name, node);
  }

  #file(node: string, name: string): string {
    return join(this.#lab.plan.names.folder, 'pods', this.#podOn(node), name);
  }

  // On the first node, for all of them.
  get #caPod(): PodPlan {
    return this.#lab.pod(this.#podOn(nodeOf.client));
  }

  get #caAddress(): string {
    return `${this.#caPod.ipv4}:${ports.control}`;
  }

  get #certificates(): string {
    return this.#file(nodeOf.client, 'certificates');
  }

  async #startCa(): Promise<void> {
    const svids = await SvidFolder.open(this.#certificates);
    const own = await svids.issue(caAccount, [this.#caPod.ipv4]);
    const authority = join(this.#certificates, 'authority');
    const args = [authority, own.chainFile, own.keyFile, this.#caAddress];
    const command = [process.execPath, caProgram, ...args];
    const started = await this.#lab.startInPod(this.#caPod.name, 'ca', command);
    await waitListening(started, ports.control);
  }

  async #startAgent(node: string, end: End): Promise<void> {
    const cgroup = instanceCgroup(this.#lab, this.#variant, end);
    // The agent writes its id into the rules, so it comes before the proxy.
    mkdirSync(cgroup, { recursive: true });
    const api = this.#file(node, 'cni.sock');
    const sockets = ['--zds', this.#file(node, 'zds.sock'), '--api', api];
    const command = commandOf('cni', ['--node', node, ...sockets, '--proxy-cgroup', cgroup]);
    const started = await this.#lab.startInPod(this.#podOn(node), 'agent', command);
    await until(started, async () => {
      await agentReady(api);
      return true;
    });
  }

  async #startProxy(node: string): Promise<void> {
    const workloadsFile = this.#file(node, 'workloads.yaml');
    writeFileSync(workloadsFile, workloadsOf(this.#pods));
    const environment = environmentOf({
      ...{ node, workloadsFile, zds: this.#file(node, 'zds.sock') },
      ...{ ca: this.#caAddress, rootFile: join(this.#certificates, 'root.pem') },
    });
    const command = ['env', ...environment, this.#binary, 'proxy'];
    const pod = this.#podOn(node);
    const started = await this.#lab.startInPod(pod, 'proxy', command);
    const url = `http://127.0.0.1:${ports.readiness}/healthz/ready`;
    await until(started, async () => {
      const { code } = await this.#lab.inPod(pod, ['curl', '-sf', '-m', '2', url]);
      return code === 0 && (await agentReady(this.#file(node, 'cni.sock')));
    });
  }

  /** Everything for the first time. */
  async setUp(): Promise<void> {
    const { plan } = this.#lab;
    await this.#lab.addNewPods();
    await this.#startCa();
    await this.#startAgent(nodeOf.client, 'client');
    await this.#startAgent(nodeOf.server, 'server');
    // Pods can be enrolled only while a proxy is there to take them.
    await this.startProxies();
    for (const pod of this.#pods) {
      await enrolPod(this.#file(pod.node, 'cni.sock'), pod, nameserversOf(plan));
    }
  }

  /** New instances, which the agents hand all pods to. */
  async startProxies(): Promise<void> {
    await Promise.all(this.#nodes.map((node) => this.#startProxy(node)));
  }

  async killProxies(): Promise<void> {
    for (const node of this.#nodes) {
      await this.#lab.kill(`pods/${this.#podOn(node)}/proxy`);
    }
  }
}

/**
 * Starts an instance of `binary` on each node, in place of those that run, and captures the variant's
 * pods for them. Throws MeshError `unavailable` with the last words of what does not come up.
 */
export async function startInstances(lab: Lab, variant: Named, binary: string): Promise<void> {
  const instances = new Instances(lab, variant, binary);
  const manifest = `${variant.name}-instances.yaml`;
  if (existsSync(join(lab.meshFolder, manifest))) {
    await instances.killProxies();
    await instances.startProxies();
    return;
  }
  await lab.writeMesh(manifest, instancePods(variant.name, lab.plan.nodes));
  await instances.setUp();
}
