// SPDX-License-Identifier: Apache-2.0
// Capture by programs in the kernel: no rule, no connection tracking, nothing that runs for a packet.
// What they do stands in bpf/ and docs/ebpf.md.
import { closeSync, openSync, statSync } from 'node:fs';
import { z } from 'zod';
import type { NodeCapture, NodeCaptureOptions } from '../../native/capture.ts';
import { MeshError } from '../lib/error.ts';
import { mustRun } from '../lib/program.ts';
import type { CaptureRow } from './capture.ts';
import { checkPodNetns } from './netns.ts';
import { addReturnRoutes, inside, removeReturnRoutes } from './pod-routes.ts';

const addressList = z.array(
  z.object({
    ifname: z.string().optional(),
    addr_info: z.array(z.object({ local: z.string(), scope: z.string() })).default([]),
  }),
);

/**
 * The addresses of a namespace that are its alone, by the text of `ip -j addr`: those of a link are
 * not.
 */
export function addressesOf(json: string): string[] {
  const links = addressList.parse(JSON.parse(json));
  const all = links.flatMap(({ addr_info }) => addr_info);
  return all.filter(({ scope }) => scope === 'global').map(({ local }) => local);
}

async function withNetns(path: string, work: (fd: number) => void): Promise<void> {
  const fd = openSync(path, 'r');
  try {
    work(fd);
  } finally {
    closeSync(fd);
  }
}

/** The row of Capture that programs in the kernel make. Needs root, `nsenter` and `ip`. */
export class EbpfCapture implements CaptureRow {
  readonly #node: NodeCapture;
  readonly #options: NodeCaptureOptions;
  #epoch: string;

  /** `node` was made with `options`. */
  constructor(node: NodeCapture, options: NodeCaptureOptions) {
    this.#node = node;
    this.#options = options;
    this.#epoch = this.epoch();
  }

  check(netnsPath: string): Promise<void> {
    return checkPodNetns(netnsPath);
  }

  async install(netnsPath: string): Promise<void> {
    const epoch = this.epoch();
    if (epoch !== this.#epoch) {
      this.#node.configure(this.#options);
      this.#epoch = epoch;
    }
    if (!(await addReturnRoutes(netnsPath))) {
      throw new MeshError('unsupported', 'sockets cannot take over marks (tcp_fwmark_accept)');
    }
    const json = await mustRun('nsenter', [...inside(netnsPath), 'ip', '-j', 'addr']);
    const addresses = addressesOf(json);
    await withNetns(netnsPath, (fd) => this.#node.enrol(fd, addresses));
  }

  async remove(netnsPath: string): Promise<void> {
    await this.giveWay(netnsPath);
    await removeReturnRoutes(netnsPath);
  }

  async giveWay(netnsPath: string): Promise<void> {
    await withNetns(netnsPath, (fd) => this.#node.release(fd));
  }

  epoch(): string {
    return `ebpf:${statSync(this.#options.proxyCgroup, { bigint: true }).ino}`;
  }
}
