// SPDX-License-Identifier: Apache-2.0
// Which way of capture this node has.
import { NodeCapture, type NodeCaptureOptions } from '../../native/capture.ts';
import { MeshError } from '../lib/error.ts';
import type { Logger } from '../lib/log.ts';
import type { Capture, CaptureRow, CaptureWants } from './capture.ts';
import { EbpfCapture } from './capture-ebpf.ts';
import { canMatchCgroup, NftCapture } from './capture-nft.ts';
import { Guard } from './guard.ts';
import {
  type Bypass,
  type CaptureKind,
  captureKinds,
  type SameNode,
  type WhenProxyDown,
} from './pod.ts';
import { Sockmap } from './sockmap.ts';

/** What can be asked for: `auto` is programs in the kernel where it takes them, else nftables. */
export const captureModes = ['auto', 'ebpf', 'nft'] as const;

/** What the choice depends on. */
export interface CaptureChoice {
  readonly mode: (typeof captureModes)[number];
  /** The proxy's cgroup v2 folder; without it only nftables can tell the proxy, by its mark. */
  readonly proxyCgroup?: string | undefined;
  readonly pins: string;
  readonly podsCgroup: string;
  readonly probeCgroup?: string | undefined;
  /** For pods that say nothing. */
  readonly sameNode: SameNode;
  /** Where nftables captures, they are always refused. */
  readonly whenProxyDown: WhenProxyDown;
  readonly bypass: Bypass;
}

async function nftCapture(folder: string | undefined, log: Logger): Promise<NftCapture> {
  if (folder !== undefined && (await canMatchCgroup(folder))) {
    return new NftCapture(folder);
  }
  const reason = folder === undefined ? 'no --proxy-cgroup' : 'the kernel cannot match cgroups';
  log.warn({ reason }, 'the proxy is exempt by its mark alone, which pods with NET_RAW can set');
  return new NftCapture();
}

async function guardOf({ sameNode }: CaptureChoice, log: Logger): Promise<Guard | undefined> {
  try {
    return sameNode === 'direct' ? await Guard.open() : undefined;
  } catch (error) {
    const { message: reason } = MeshError.from(error);
    log.warn({ reason }, "pods' addresses cannot be guarded: pods of this node have tunnels, too");
    return undefined;
  }
}

async function ebpfCapture(choice: CaptureChoice, log: Logger): Promise<EbpfCapture> {
  const { proxyCgroup, pins, podsCgroup, probeCgroup, whenProxyDown } = choice;
  if (proxyCgroup === undefined) {
    throw new MeshError('invalid', 'capture in the kernel needs --proxy-cgroup');
  }
  const cgroups = { cgroup: podsCgroup, proxyCgroup, probeCgroup };
  const options: NodeCaptureOptions = { pins, ...cgroups, whenProxyDown };
  const sockmap = { tier: new Sockmap(options, log), usual: choice.bypass };
  if (choice.bypass === 'sockmap') {
    sockmap.tier.check();
  }
  const guard = await guardOf(choice, log);
  return new EbpfCapture(new NodeCapture(options), options, guard, log, sockmap);
}

/**
 * Both ways, on a node whose kernel takes our programs: a pod may want the other one. A pod is
 * captured in the new way before the old one gives way.
 */
export class BothCaptures implements Capture {
  readonly #rows: Readonly<Record<CaptureKind, CaptureRow>>;
  readonly #usual: CaptureKind;

  constructor(rows: Readonly<Record<CaptureKind, CaptureRow>>, usual: CaptureKind) {
    this.#rows = rows;
    this.#usual = usual;
  }

  check(netnsPath: string): Promise<void> {
    return this.#rows[this.#usual].check(netnsPath);
  }

  async install(netnsPath: string, wants: CaptureWants = {}): Promise<void> {
    const want = wants.capture ?? this.#usual;
    await this.#rows[want].install(netnsPath, wants);
    await this.#rows[want === 'nft' ? 'ebpf' : 'nft'].giveWay(netnsPath);
  }

  async remove(netnsPath: string): Promise<void> {
    await this.#rows.ebpf.giveWay(netnsPath);
    await this.#rows.nft.remove(netnsPath);
  }

  epoch(): string {
    return captureKinds.map((kind) => this.#rows[kind].epoch()).join(' ');
  }
}

/** nftables alone; a pod that wants programs in the kernel is refused. */
class NftOnly implements Capture {
  readonly #nft: NftCapture;
  readonly #why: string;
  readonly #log: Pick<Logger, 'error'>;

  constructor(nft: NftCapture, why: string, log: Pick<Logger, 'error'>) {
    this.#nft = nft;
    this.#why = why;
    this.#log = log;
  }

  check(netnsPath: string): Promise<void> {
    return this.#nft.check(netnsPath);
  }

  async install(netnsPath: string, wants: CaptureWants = {}): Promise<void> {
    if (wants.capture === 'ebpf') {
      throw new MeshError('unsupported', `no capture in the kernel here: ${this.#why}`);
    }
    if (wants.bypass === 'sockmap') {
      const reason = `it needs capture in the kernel: ${this.#why}`;
      this.#log.error({ netns: netnsPath, reason }, 'a pod asks for the sockmap tier in vain');
    }
    await this.#nft.install(netnsPath);
  }

  remove(netnsPath: string): Promise<void> {
    return this.#nft.remove(netnsPath);
  }

  epoch(): string {
    return this.#nft.epoch();
  }
}

function nftOnly({ bypass }: CaptureChoice, nft: NftCapture, why: string, log: Logger): Capture {
  if (bypass === 'sockmap') {
    throw new MeshError('unsupported', `the sockmap tier needs capture in the kernel: ${why}`);
  }
  return new NftOnly(nft, why, log);
}

/** Sets capture up. Throws MeshError when what was asked for by name cannot be had. */
export async function chooseCapture(choice: CaptureChoice, log: Logger): Promise<Capture> {
  const { mode, whenProxyDown } = choice;
  if (mode === 'nft' && whenProxyDown === 'pass') {
    throw new MeshError('unsupported', 'nftables captures also when there is no proxy');
  }
  const nft = await nftCapture(choice.proxyCgroup, log);
  if (mode === 'nft') {
    return nftOnly(choice, nft, 'nftables was asked for', log);
  }
  try {
    const ebpf = await ebpfCapture(choice, log);
    log.info({ tier: 'ebpf', pins: choice.pins }, 'capture');
    return new BothCaptures({ ebpf, nft }, 'ebpf');
  } catch (error) {
    const { message } = MeshError.from(error);
    if (mode === 'ebpf' || choice.bypass === 'sockmap') {
      throw new MeshError('unsupported', `capture in the kernel: ${message}`, { cause: error });
    }
    log.warn({ tier: 'nft', reason: message }, 'no capture in the kernel');
    if (whenProxyDown === 'pass') {
      log.warn('what pods open without a proxy is refused, since nftables cannot let it pass');
    }
    return nftOnly(choice, nft, message, log);
  }
}
