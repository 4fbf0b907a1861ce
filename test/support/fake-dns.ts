// SPDX-License-Identifier: Apache-2.0
// A DNS proxy that only remembers what it was told.
import type { NameChange } from '../../ztunnel/dns/names.ts';
import type { ProxyDns } from '../../ztunnel/node-proxy.ts';

type Pod = Parameters<ProxyDns['addPod']>[0];

export class FakeDns implements ProxyDns {
  readonly names: NameChange[] = [];
  readonly pods: Map<string, Pod> = new Map();

  readonly restarts = 0;

  update(changes: readonly NameChange[]): void {
    this.names.push(...changes);
  }

  async addPod(pod: Pod): Promise<void> {
    this.pods.set(pod.uid, pod);
  }

  async removePod(uid: string): Promise<void> {
    this.pods.delete(uid);
  }

  async sockets(): Promise<ReadonlyMap<string, number>> {
    return new Map();
  }

  async counts(): ReturnType<ProxyDns['counts']> {
    return new Map();
  }

  async close(): Promise<void> {
    this.pods.clear();
  }
}
