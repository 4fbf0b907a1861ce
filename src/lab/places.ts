// SPDX-License-Identifier: Apache-2.0
// Where a lab keeps what: every path of it, by duty.
import { join } from 'node:path';
import type { LabNames } from './topology.ts';

/** The folders, sockets and cgroups of one lab. Nothing is made here. */
export class Places {
  readonly names: LabNames;

  constructor(names: LabNames) {
    this.names = names;
  }

  /** The mesh's YAML that the control plane watches. */
  get mesh(): string {
    return this.folder('mesh');
  }

  /** The control plane's state folder. */
  get controlState(): string {
    return this.folder('control/state');
  }

  /** Files of the demo. */
  get scratch(): string {
    return this.folder('demo');
  }

  /** A folder of the lab: of a node, by its name, or of something else. */
  folder(name: string): string {
    return join(this.names.folder, name);
  }

  /** A pod's folder, in which its programs run. */
  pod(name: string): string {
    return this.folder(`pods/${name}`);
  }

  /** The API socket of a node's CNI agent. */
  api(node: string): string {
    return join(this.folder(node), 'cni.sock');
  }

  /** The socket by which a node's agent hands pods to its proxy. */
  zds(node: string): string {
    return join(this.folder(node), 'zds.sock');
  }

  /** Where a node's capture in the kernel is pinned. */
  bpfPins(node: string): string {
    return join(this.folder(node), 'bpf');
  }

  /** Where a node's proxy keeps its key and what it knows. */
  proxyState(node: string): string {
    return join(this.folder(node), 'state');
  }

  /** Where a node's proxy keeps the keys of its workloads. */
  proxyKeys(node: string): string {
    return join(this.names.keys, node);
  }

  /** The log of a process, such as "node-a/ztunnel". */
  log(process: string): string {
    return join(this.names.folder, 'logs', `${process.replaceAll('/', '-')}.log`);
  }

  /** The cgroup of a process, or of a pod as "pods/NAME". */
  cgroup(name: string): string {
    return join(this.names.cgroup, name);
  }
}
