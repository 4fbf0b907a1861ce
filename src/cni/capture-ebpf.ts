// SPDX-License-Identifier: Apache-2.0
// Capture by programs in the kernel: no rule, no connection tracking, nothing that runs for a
// packet but the guard of addresses, in the node's namespace.
// What they do stands in bpf/ and docs/ebpf.md.
import { closeSync, openSync, statSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import type { NodeCapture, NodeCaptureOptions } from '../../native/capture.ts';
import { MeshError } from '../lib/error.ts';
import type { Logger } from '../lib/log.ts';
import type { Bypass } from '../lib/pod-settings.ts';
import { mustRun } from '../lib/program.ts';
import type { CaptureRow, CaptureWants } from './capture.ts';
import type { Guard } from './guard.ts';
import { checkPodNetns, isGone } from './netns.ts';
import {
  addReturnRoutes,
  inside,
  type MarkSettings,
  readMarkSettings,
  reflectMarks,
  removeReturnRoutes,
} from './pod-routes.ts';
import type { Sockmap } from './sockmap.ts';

const conflictTries = 20;
const conflictWaitMs = 100;

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

async function addressesIn(netnsPath: string): Promise<string[]> {
  return addressesOf(await mustRun('nsenter', [...inside(netnsPath), 'ip', '-j', 'addr']));
}

function withNetns<T>(path: string, work: (fd: number) => T): T {
  const fd = openSync(path, 'r');
  try {
    return work(fd);
  } finally {
    closeSync(fd);
  }
}

/** The sockmap tier, and whether pods that say nothing are in it. */
export interface EbpfSockmap {
  readonly tier: Pick<Sockmap, 'admits' | 'add' | 'remove'>;
  readonly usual: Bypass;
}

/** The row of Capture that programs in the kernel make. Needs root, `nsenter` and `ip`. */
export class EbpfCapture implements CaptureRow {
  readonly #node: NodeCapture;
  readonly #options: NodeCaptureOptions;
  readonly #guard: Guard | undefined;
  readonly #log: Pick<Logger, 'warn'> | undefined;
  readonly #sockmap: EbpfSockmap | undefined;
  #epoch: string;

  /**
   * `node` was made with `options`. With a guard, pods that do not object are connected with each
   * other directly; with `sockmap`, past TCP those that ask for it.
   */
  constructor(
    node: NodeCapture,
    options: NodeCaptureOptions,
    guard?: Guard,
    log?: Pick<Logger, 'warn'>,
    sockmap?: EbpfSockmap,
  ) {
    this.#node = node;
    this.#options = options;
    this.#guard = guard;
    this.#log = log;
    this.#sockmap = sockmap;
    this.#epoch = this.epoch();
  }

  check(netnsPath: string): Promise<void> {
    return checkPodNetns(netnsPath);
  }

  async install(netnsPath: string, wants: CaptureWants = {}): Promise<void> {
    const epoch = this.epoch();
    if (epoch !== this.#epoch) {
      this.#node.configure(this.#options);
      this.#epoch = epoch;
    }
    if (!(await addReturnRoutes(netnsPath))) {
      throw new MeshError('unsupported', 'sockets cannot take over marks (tcp_fwmark_accept)');
    }
    await reflectMarks(netnsPath);
    const addresses = await this.#addresses(netnsPath);
    if (this.#held(netnsPath).length === 0) {
      await this.#enrol(netnsPath, addresses);
    }
    const direct = await this.#isDirect(netnsPath, addresses, wants);
    const bypass = this.#mayBypass(netnsPath, direct, wants);
    withNetns(netnsPath, (fd) => this.#node.enrol(fd, addresses, direct, bypass));
    if (bypass) {
      this.#sockmap?.tier.add(netnsPath);
    } else {
      this.#sockmap?.tier.remove(netnsPath);
    }
  }

  #mayBypass(netnsPath: string, direct: boolean, { bypass }: CaptureWants): boolean {
    const wanted = (bypass ?? this.#sockmap?.usual) === 'sockmap';
    return wanted && this.#sockmap?.tier.admits(netnsPath, this.#node) === true && direct;
  }

  // Whoever is root in a pod gives it what addresses he likes, those of other pods, too: they are
  // read when it comes, and not again.
  async #addresses(netnsPath: string): Promise<string[]> {
    const held = this.#held(netnsPath);
    return held.length > 0 ? held : addressesIn(netnsPath);
  }

  #held(netnsPath: string): string[] {
    return withNetns(netnsPath, (fd) => this.#node.addresses(fd));
  }

  // The kernel takes a namespace down some time after its last process; till then its addresses are
  // another pod's.
  async #enrol(netnsPath: string, addresses: readonly string[]): Promise<void> {
    for (let tried = 1; ; tried++) {
      try {
        withNetns(netnsPath, (fd) => this.#node.enrol(fd, addresses, false));
        return;
      } catch (error) {
        if (MeshError.from(error).code !== 'conflict' || tried === conflictTries) {
          throw error;
        }
      }
      await delay(conflictWaitMs);
    }
  }

  before(netnsPath: string): Promise<MarkSettings> {
    return readMarkSettings(netnsPath);
  }

  async remove(netnsPath: string, former?: MarkSettings): Promise<void> {
    await this.giveWay(netnsPath);
    await removeReturnRoutes(netnsPath, former);
  }

  async giveWay(netnsPath: string): Promise<void> {
    const held = this.#held(netnsPath);
    this.#sockmap?.tier.remove(netnsPath);
    withNetns(netnsPath, (fd) => this.#node.release(fd));
    await this.#guard?.remove(netnsPath, held);
  }

  /** Without a guard those at `left` have no direct connections any more: nobody keeps their addresses. */
  async retain(left: readonly string[]): Promise<void> {
    const found = left.flatMap((path) => (isGone(path) ? [] : [{ path, held: this.#held(path) }]));
    const captured = found.filter(({ held }) => held.length > 0);
    if (this.#guard !== undefined) {
      await this.#guard.retain(captured.flatMap(({ held }) => held));
      return;
    }
    for (const { path, held } of captured) {
      withNetns(path, (fd) => this.#node.enrol(fd, held, false));
    }
  }

  async #isDirect(
    netnsPath: string,
    addresses: readonly string[],
    { sameNode }: CaptureWants,
  ): Promise<boolean> {
    if (this.#guard === undefined || sameNode === 'tunnel') {
      return false;
    }
    const reason = await this.#guard.add(netnsPath, addresses);
    if (reason !== undefined) {
      this.#log?.warn({ netns: netnsPath, reason }, 'a pod is not connected directly');
    }
    return reason === undefined;
  }

  epoch(): string {
    return `ebpf:${statSync(this.#options.proxyCgroup, { bigint: true }).ino}`;
  }
}
