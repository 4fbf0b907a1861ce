// SPDX-License-Identifier: Apache-2.0
// A running lab: namespaces, the mesh's processes and the pods' own, and how all of it ends.
import { cpSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MeshError } from '../lib/error.ts';
import { mustRun, type ProgramOptions, type ProgramResult, runProgram } from '../lib/program.ts';
import { enrolPod, unenrolPod } from './cni-client.ts';
import { readPods } from './mesh-files.ts';
import { buildNetwork, buildPod, netnsPath, removeNetns, removeNetwork } from './netns.ts';
import { Places } from './places.ts';
import { ProcessSet } from './process-set.ts';
import { insideOf, type LabProcess, removeCgroup } from './processes.ts';
import { nameserversOf } from './resolver.ts';
import { asPod, type LabParts, startControl, startNode, startPod, waitReady } from './start.ts';
import { isAlive, loadState, markProcess, removeFolder, saveState } from './state.ts';
import { type LabNames, type LabPlan, type NodePlan, type PodPlan, planLab } from './topology.ts';

/** What a lab is built from. */
export interface LabOptions {
  readonly names: LabNames;
  /** Folder of the mesh's YAML; it is copied, the original is not touched. */
  readonly config: string;
  /** Told what is being done, one line each. */
  readonly progress: (text: string) => void;
  /** Further flags of each node's proxy. */
  readonly proxyFlags?: readonly string[];
  /** What rows about much payload send each way; `bulkBytesDefault` when absent. */
  readonly bulkBytes?: number;
}

/** What rows about much payload send each way, unless it is given. */
export const bulkBytesDefault: number = 1 << 30;

/** A proxy writes its state at most this long after it changed. */
const savedMs = 1_000;

/** One lab. Its methods are for one caller at a time. */
export class Lab {
  readonly plan: LabPlan;
  /** What rows about much payload send each way. */
  readonly bulkBytes: number;
  readonly #options: LabOptions;
  readonly #places: Places;
  readonly #processes: ProcessSet;
  #pods: PodPlan[];
  #kept = false;

  private constructor(options: LabOptions) {
    const { names, config, bulkBytes = bulkBytesDefault } = options;
    this.bulkBytes = bulkBytes;
    this.#options = options;
    this.#places = new Places(names);
    this.#processes = new ProcessSet(this.#places);
    this.plan = planLab(names, readPods(config));
    this.#pods = [...this.plan.pods];
  }

  /**
   * Claims the name, removes what a killed lab left, and reads the plan. Throws MeshError
   * `conflict` when another lab with that name runs, `invalid` when the YAML cannot be built.
   */
  static async prepare(options: LabOptions): Promise<Lab> {
    const { names, config } = options;
    const state = loadState(names);
    if (state !== undefined && !state.kept && isAlive(state.owner)) {
      throw new MeshError('conflict', `a lab is running already (process ${state.owner.pid})`);
    }
    const lab = new Lab(options);
    await removeLab(names);
    mkdirSync(names.folder, { recursive: true, mode: 0o700 });
    lab.#save();
    cpSync(config, lab.meshFolder, { recursive: true });
    return lab;
  }

  /** Builds everything and resolves when traffic can flow. */
  async start(): Promise<void> {
    const { progress } = this.#options;
    progress('network namespaces');
    await buildNetwork(this.plan);
    progress('control plane');
    await startControl(this.#parts);
    for (const node of this.plan.nodes) {
      progress(`${node.name}: agent and proxy`);
      await startNode(this.#parts, node, this.#options.proxyFlags ?? []);
    }
    progress('pods');
    for (const pod of this.#pods) {
      await startPod(this.#parts, pod);
    }
    await Promise.all(this.plan.nodes.map((node) => waitReady(this.#parts, node)));
  }

  /** The pod called `name`. Throws MeshError `invalid` when there is none. */
  pod(name: string): PodPlan {
    const pod = this.#pods.find((each) => each.name === name);
    if (pod === undefined) {
      throw new MeshError('invalid', `there is no pod ${name}`);
    }
    return pod;
  }

  /** The node called `name`. Throws MeshError `invalid` when there is none. */
  node(name: string): NodePlan {
    const node = this.plan.nodes.find((each) => each.name === name);
    if (node === undefined) {
      throw new MeshError('invalid', `there is no node ${name}`);
    }
    return node;
  }

  /** The process called `name`, such as "control" or "node-a/ztunnel". */
  process(name: string): LabProcess {
    return this.#processes.get(name);
  }

  /** The mesh's own processes, by name. They must be the same from beginning to end. */
  meshProcesses(): LabProcess[] {
    const isMesh = ({ name }: LabProcess): boolean => {
      return !name.startsWith('pods/') && name !== 'resolver';
    };
    return this.#processes.all().filter(isMesh);
  }

  /** The mesh's folder that the control plane watches; the demo edits it. */
  get meshFolder(): string {
    return this.#places.mesh;
  }

  /** The API socket of a node's CNI agent. */
  api(node: string): string {
    return this.#places.api(node);
  }

  /** Where a node's proxy keeps its key. */
  proxyState(node: string): string {
    return this.#places.proxyState(node);
  }

  /** Where a node's proxy keeps the keys of its workloads. */
  proxyKeys(node: string): string {
    return this.#places.proxyKeys(node);
  }

  /** The control plane's state folder. */
  get controlState(): string {
    return this.#places.controlState;
  }

  /** Where files of the demo go; it is there. */
  get scratch(): string {
    mkdirSync(this.#places.scratch, { recursive: true, mode: 0o700 });
    return this.#places.scratch;
  }

  /**
   * Resolves when a node's proxy has on disk what it knows now: it writes a moment after each change.
   */
  async stateSaved(node: string): Promise<void> {
    const file = join(this.proxyState(node), 'state.bin');
    const started = Date.now();
    await this.#processes.waitFor(`the saved state of ${node}`, [], async () => {
      const { mtimeMs } = statSync(file);
      return Date.now() - Math.max(mtimeMs, started) >= savedMs;
    });
  }

  /** Runs a program in a pod, as one of its processes. */
  inPod(
    name: string,
    command: readonly string[],
    options: ProgramOptions = {},
  ): Promise<ProgramResult> {
    const pod = this.pod(name);
    const cgroup = this.#places.cgroup(`pods/${pod.name}`);
    const inside = insideOf(pod.netns, cgroup, asPod(this.#places, name, command));
    const [file = '', ...args] = inside;
    return runProgram(file, args, options);
  }

  /** Puts a pod into the mesh. */
  enrol(pod: PodPlan): Promise<void> {
    return enrolPod(this.api(pod.node), pod, nameserversOf(this.plan));
  }

  /** Starts a program in a pod that goes on by itself; its output is in its log file. */
  startInPod(pod: string, name: string, command: readonly string[]): Promise<LabProcess> {
    const { netns } = this.pod(pod);
    const inside = asPod(this.#places, pod, command);
    return this.#processes.spawn(`pods/${pod}/${name}`, netns, inside, this.#places.pod(pod));
  }

  /** Ends a process as a crash does: at once, and with no word to anybody. */
  async kill(name: string): Promise<void> {
    await this.#processes.kill(name);
  }

  /**
   * Starts a process that has ended once more. Its command becomes what `change` makes of it, for
   * this time. The log goes on in the same file.
   */
  restart(
    name: string,
    change?: (command: readonly string[]) => readonly string[],
  ): Promise<LabProcess> {
    return this.#processes.restart(name, change);
  }

  /** Starts a process beside the one that has its name so far, and answers that one. */
  replace(name: string): Promise<LabProcess> {
    return this.#processes.replace(name);
  }

  /** Resolves when the node's proxy says it is ready. Throws MeshError `timeout`. */
  async ready(node: string): Promise<void> {
    await waitReady(this.#parts, this.node(node));
  }

  /** Runs a program in a node's network namespace. */
  onNode(
    name: string,
    command: readonly string[],
    options: ProgramOptions = {},
  ): Promise<ProgramResult> {
    const args = [`--net=${netnsPath(this.node(name).netns)}`, '--', ...command];
    return runProgram('nsenter', args, options);
  }

  /** Writes one of the mesh's files in one step, as a careful user would. */
  writeMesh(file: string, text: string): Promise<void> {
    // A name that is no YAML's is not read before the rename.
    const fresh = join(this.meshFolder, `.${file}.new`);
    writeFileSync(fresh, text);
    return mustRun('mv', [fresh, join(this.meshFolder, file)]).then(() => undefined);
  }

  /** Adds the pods that the mesh's files name and the lab does not have yet; answers their names. */
  async addNewPods(): Promise<string[]> {
    const known = new Set(this.#pods.map(({ name }) => name));
    const plan = planLab(this.plan.names, readPods(this.meshFolder));
    const fresh = plan.pods.filter(({ name }) => !known.has(name));
    for (const pod of fresh) {
      this.#pods.push(pod);
      this.#save();
      await buildPod(this.node(pod.node), pod);
      await startPod(this.#parts, pod);
    }
    return fresh.map(({ name }) => name);
  }

  /** Un-enrols a pod, ends its processes and removes its namespace. */
  async removePod(name: string): Promise<void> {
    const pod = this.pod(name);
    await unenrolPod(this.api(pod.node), pod);
    await removeCgroup(this.#places.cgroup(`pods/${name}`));
    await removeNetns(pod.netns);
    this.#pods = this.#pods.filter((each) => each !== pod);
    this.#save();
  }

  /** Leaves everything running when this process ends. */
  keep(): void {
    this.#kept = true;
    this.#save();
    this.#processes.release();
  }

  /** Ends everything: proxies drain, the rest is killed, nothing stays behind. Never throws half. */
  async stop(): Promise<void> {
    await this.#processes.stop();
    await removeLab(this.plan.names);
  }

  get #parts(): LabParts {
    return { plan: this.plan, places: this.#places, processes: this.#processes };
  }

  #save(): void {
    const places = this.#pods.map(({ name, netns }) => {
      return [name, { netns, cgroup: this.#places.cgroup(`pods/${name}`) }] as const;
    });
    const owner = markProcess(process.pid);
    const pods = Object.fromEntries(places);
    saveState(this.#options.names, { version: 1, owner, kept: this.#kept, pods });
  }
}

// What is pinned in the kernel goes with the file system that it is pinned in.
async function unmountPins(names: LabNames): Promise<void> {
  const mounts = readFileSync('/proc/mounts', 'utf8').split('\n');
  const places = mounts.map((line) => line.split(' ')[1] ?? '');
  for (const place of places.filter((each) => each.startsWith(`${names.folder}/`))) {
    await mustRun('umount', [place]);
  }
}

/** Removes every trace of a lab with these names, running or not. */
export async function removeLab(names: LabNames): Promise<void> {
  await removeCgroup(names.cgroup);
  await removeNetwork(names);
  await unmountPins(names);
  removeFolder(names);
}
