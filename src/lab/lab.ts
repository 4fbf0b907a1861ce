// SPDX-License-Identifier: Apache-2.0
// A running lab: namespaces, the mesh's processes and the pods' own, and how all of it ends.
import { cpSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { MeshError } from '../lib/error.ts';
import { commandOf } from '../lib/node-processes.ts';
import { ports } from '../lib/ports.ts';
import { mustRun, type ProgramOptions, type ProgramResult, runProgram } from '../lib/program.ts';
import { agentReady, enrolPod, unenrolPod } from './cni-client.ts';
import { readLog } from './log-watch.ts';
import { readPods } from './mesh-files.ts';
import { buildNetwork, buildPod, netnsPath, removeNetns, removeNetwork } from './netns.ts';
import {
  endProcess,
  insideOf,
  killProcess,
  type LabProcess,
  type ProcessSpec,
  removeCgroup,
  startProcess,
  tailOf,
} from './processes.ts';
import {
  nameserversOf,
  resolvConfOf,
  resolverCommand,
  withResolvConf,
  writeResolvConf,
} from './resolver.ts';
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
}

/** How long a process may take until it says that it is ready. */
export const startTimeoutMs = 20_000;
/** How long processes may take to end by themselves. */
export const stopTimeoutMs = 8_000;

const labFolder: string = import.meta.dirname;
const pollMs = 50;
/** A proxy writes its state at most this long after it changed. */
const savedMs = 1_000;

/** One lab. Its methods are for one caller at a time. */
export class Lab {
  readonly plan: LabPlan;
  /** The mesh's folder that the control plane watches; the demo edits it. */
  readonly meshFolder: string;
  readonly #options: LabOptions;
  readonly #processes = new Map<string, LabProcess>();
  readonly #specs = new Map<string, ProcessSpec>();
  #pods: PodPlan[];
  #kept = false;
  #stopped = false;

  private constructor(options: LabOptions) {
    const { names, config } = options;
    this.#options = options;
    this.meshFolder = join(names.folder, 'mesh');
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
    await this.#startControl();
    for (const node of this.plan.nodes) {
      progress(`${node.name}: agent and proxy`);
      await this.#startNode(node);
    }
    progress('pods');
    for (const pod of this.#pods) {
      await this.#startPod(pod);
    }
    await Promise.all(this.plan.nodes.map((node) => this.#waitReady(node)));
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
    const found = this.#processes.get(name);
    if (found === undefined) {
      throw new MeshError('invalid', `there is no process ${name}`);
    }
    return found;
  }

  /** The mesh's own processes, by name. They must be the same from beginning to end. */
  meshProcesses(): LabProcess[] {
    return [...this.#processes.values()].filter(
      ({ name }) => !name.startsWith('pods/') && name !== 'resolver',
    );
  }

  /** The API socket of a node's CNI agent. */
  api(node: string): string {
    return join(this.#folderOf(node), 'cni.sock');
  }

  /** Where a node's proxy keeps its key. */
  proxyState(node: string): string {
    return join(this.#folderOf(node), 'state');
  }

  /** The control plane's state folder. */
  get controlState(): string {
    return this.#folderOf('control/state');
  }

  /**
   * Resolves when a node's proxy has on disk what it knows now: it writes a moment after each change.
   */
  async stateSaved(node: string): Promise<void> {
    const file = join(this.proxyState(node), 'state.bin');
    const started = Date.now();
    await this.#waitFor(`the saved state of ${node}`, [], async () => {
      const { mtimeMs } = statSync(file);
      return Date.now() - Math.max(mtimeMs, started) >= savedMs;
    });
  }

  /** Where a node's proxy keeps the keys of its workloads. */
  proxyKeys(node: string): string {
    return join(this.#options.names.keys, node);
  }

  /** Where files of the demo go. */
  get scratch(): string {
    const folder = join(this.#options.names.folder, 'demo');
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    return folder;
  }

  /** Runs a program in a pod, as one of its processes. */
  inPod(
    name: string,
    command: readonly string[],
    options: ProgramOptions = {},
  ): Promise<ProgramResult> {
    const pod = this.pod(name);
    const cgroup = this.#cgroupOf(`pods/${pod.name}`);
    const [file = '', ...args] = insideOf(pod.netns, cgroup, this.#asPod(name, command));
    return runProgram(file, args, options);
  }

  /** Puts a pod into the mesh. */
  enrol(pod: PodPlan): Promise<void> {
    return enrolPod(this.api(pod.node), pod, nameserversOf(this.plan));
  }

  /** Starts a program in a pod that goes on by itself; its output is in its log file. */
  startInPod(pod: string, name: string, command: readonly string[]): Promise<LabProcess> {
    const folder = this.#folderOf(`pods/${pod}`);
    const inside = this.#asPod(pod, command);
    return this.#spawn(`pods/${pod}/${name}`, this.pod(pod).netns, inside, folder);
  }

  /** Ends a process as a crash does: at once, and with no word to anybody. */
  async kill(name: string): Promise<void> {
    await killProcess(this.process(name));
  }

  /**
   * Starts a process that has ended once more. Its command becomes what `change` makes of it, for
   * this time. The log goes on in the same file.
   */
  async restart(
    name: string,
    change: (command: readonly string[]) => readonly string[] = (command) => command,
  ): Promise<LabProcess> {
    const spec = this.#specs.get(name);
    if (spec === undefined) {
      throw new MeshError('invalid', `there is no process ${name}`);
    }
    const started = await this.#run({ ...spec, command: change(spec.command) });
    this.#specs.set(name, spec);
    return started;
  }

  /** Resolves when the node's proxy says it is ready. Throws MeshError `timeout`. */
  async ready(node: string): Promise<void> {
    await this.#waitReady(this.node(node));
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
      await this.#startPod(pod);
    }
    return fresh.map(({ name }) => name);
  }

  /** Un-enrols a pod, ends its processes and removes its namespace. */
  async removePod(name: string): Promise<void> {
    const pod = this.pod(name);
    await unenrolPod(this.api(pod.node), pod);
    await removeCgroup(this.#cgroupOf(`pods/${name}`));
    await removeNetns(pod.netns);
    this.#pods = this.#pods.filter((each) => each !== pod);
    this.#save();
  }

  /** Leaves everything running when this process ends. */
  keep(): void {
    this.#kept = true;
    this.#save();
    for (const each of this.#processes.values()) {
      each.release();
    }
  }

  /** Ends everything: proxies drain, the rest is killed, nothing stays behind. Never throws half. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all([...this.#processes.values()].map((each) => endProcess(each, stopTimeoutMs)));
    await removeLab(this.plan.names);
  }

  #folderOf(name: string): string {
    return join(this.#options.names.folder, name);
  }

  #asPod(pod: string, command: readonly string[]): string[] {
    return withResolvConf(resolvConfOf(this.#options.names, pod), command);
  }

  #cgroupOf(name: string): string {
    return join(this.#options.names.cgroup, name);
  }

  #save(): void {
    const places = this.#pods.map(({ name, netns }) => {
      return [name, { netns, cgroup: this.#cgroupOf(`pods/${name}`) }] as const;
    });
    const owner = markProcess(process.pid);
    const pods = Object.fromEntries(places);
    saveState(this.#options.names, { version: 1, owner, kept: this.#kept, pods });
  }

  async #spawn(
    name: string,
    netns: string,
    command: readonly string[],
    folder: string = this.#options.names.folder,
  ): Promise<LabProcess> {
    const logFile = join(this.#options.names.folder, 'logs', `${name.replaceAll('/', '-')}.log`);
    return await this.#run({
      ...{ name, netns, command, logFile, folder },
      cgroup: this.#cgroupOf(name),
    });
  }

  async #run(spec: ProcessSpec): Promise<LabProcess> {
    if (this.#stopped) {
      throw new MeshError('unavailable', 'the lab is being taken down');
    }
    const started = await startProcess(spec);
    this.#specs.set(spec.name, spec);
    this.#processes.set(spec.name, started);
    return started;
  }

  #spawnWeft(
    name: string,
    netns: string,
    [verb = '', ...args]: readonly string[],
  ): Promise<LabProcess> {
    return this.#spawn(name, netns, commandOf(verb, args));
  }

  async #startControl(): Promise<void> {
    const { control } = this.plan;
    const args = ['--config', this.meshFolder, '--state', this.controlState];
    const sans = ['--san', control.ipv4, '--san', control.ipv6];
    const started = await this.#spawnWeft('control', control.netns, ['control', ...args, ...sans]);
    const ready = (): boolean => {
      return readLog(started.logFile, 0).records.some((record) => record['msg'] === 'ready');
    };
    await this.#waitFor('the control plane', [started], async () => ready());
    await this.#spawn('resolver', control.netns, resolverCommand(this.plan));
  }

  async #mintToken(node: NodePlan): Promise<string> {
    const args = ['create', '--node', node.name, '--state', this.controlState];
    const [program = '', ...words] = commandOf('token', args);
    const token = await mustRun(program, words);
    const file = join(this.#folderOf(node.name), 'join-token');
    writeFileSync(file, token, { mode: 0o600 });
    return file;
  }

  async #startNode(node: NodePlan): Promise<void> {
    const folder = this.#folderOf(node.name);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const zds = join(folder, 'zds.sock');
    const proxyCgroup = this.#cgroupOf(`${node.name}/ztunnel`);
    // The agent writes its id into the rules, so it comes before the proxy.
    mkdirSync(proxyCgroup, { recursive: true });
    const common = ['--node', node.name, '--zds', zds];
    const agent = ['cni', ...common, '--api', this.api(node.name), '--proxy-cgroup', proxyCgroup];
    const cni = await this.#spawnWeft(`${node.name}/cni`, node.netns, agent);
    const token = await this.#mintToken(node);
    const control = `${this.plan.control.ipv4}:${ports.control}`;
    const join_ = ['--control', control, '--join-token', token];
    const keys = ['--keys', this.proxyKeys(node.name)];
    const state = ['--state', this.proxyState(node.name), ...keys];
    const flags = this.#options.proxyFlags ?? [];
    const proxy = ['ztunnel', ...common, ...join_, ...state, ...flags];
    const ztunnel = await this.#spawnWeft(`${node.name}/ztunnel`, node.netns, proxy);
    const api = this.api(node.name);
    await this.#waitFor(`${node.name}'s proxy`, [cni, ztunnel], () => agentReady(api));
  }

  async #startPod(pod: PodPlan): Promise<void> {
    const folder = this.#folderOf(`pods/${pod.name}`);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    mkdirSync(this.#cgroupOf(`pods/${pod.name}`), { recursive: true });
    writeResolvConf(this.plan, pod);
    // As a runtime does it: the network is ready before any process of the pod runs.
    if (pod.enrolled) {
      await this.enrol(pod);
    }
    const values: Record<string, string> = {
      POD_DIR: folder,
      MESH_DIR: this.meshFolder,
      LAB_DIR: labFolder,
      NODE: process.execPath,
    };
    for (const { name, command, ports: wanted } of pod.containers) {
      const expanded = this.#asPod(
        pod.name,
        command.map((text) => expand(text, values)),
      );
      const started = await this.#spawn(`pods/${pod.name}/${name}`, pod.netns, expanded, folder);
      const what = `${pod.name}/${name}: ports ${wanted.join(', ')}`;
      await this.#waitFor(what, [started], async () => listens(started.pid, wanted));
    }
  }

  async #waitReady(node: NodePlan): Promise<void> {
    const url = `http://127.0.0.1:${ports.readiness}/healthz/ready`;
    const ask = ['curl', '-s', '-f', '-m', '2', url];
    await this.#waitFor(`${node.name} is ready`, [], async () => {
      return (await this.onNode(node.name, ask)).code === 0;
    });
  }

  // A process that ends before it is ready fails the start at once, with its last words.
  async #waitFor(
    what: string,
    needed: readonly LabProcess[],
    check: () => Promise<boolean>,
  ): Promise<void> {
    const until = Date.now() + startTimeoutMs;
    while (!(await check().catch(() => false))) {
      for (const each of needed) {
        if (!isAlive(each)) {
          const how = await each.ended;
          throw new MeshError('unavailable', `${each.name}: ${how}\n${tailOf(each.logFile)}`);
        }
      }
      if (this.#stopped || Date.now() > until) {
        throw new MeshError('timeout', `${what}: not within ${startTimeoutMs} ms`);
      }
      await wait(pollMs);
    }
  }
}

/** Replaces `$(NAME)` as Kubernetes does; an unknown name stays as it is. */
export function expand(text: string, values: Readonly<Record<string, string>>): string {
  return text.replace(/\$\((\w+)\)/g, (whole, name: string) => values[name] ?? whole);
}

/** Whether all of these TCP ports have a listener in the network namespace of a process. */
// From /proc, because a probing connection would be captured like any other.
export function listens(pid: number, wanted: readonly number[]): boolean {
  const tables = ['tcp', 'tcp6'].map((name) => readFileSync(`/proc/${pid}/net/${name}`, 'latin1'));
  return wanted.every((port) => {
    const suffix = port.toString(16).toUpperCase().padStart(4, '0');
    return tables.some((table) => new RegExp(`:${suffix} [0-9A-F]+:0000 0A `).test(table));
  });
}

/** Removes every trace of a lab with these names, running or not. */
export async function removeLab(names: LabNames): Promise<void> {
  await removeCgroup(names.cgroup);
  await removeNetwork(names);
  removeFolder(names);
}
