// SPDX-License-Identifier: Apache-2.0
// Which way of capture this node has.
import {
  captureParts,
  type LoadedPart,
  NodeCapture,
  type NodeCaptureOptions,
} from '../../native/capture.ts';
import { adviceOn, type CaptureFeature, partsWithoutHooks } from '../lib/capture-tier.ts';
import { MeshError } from '../lib/error.ts';
import type { Logger } from '../lib/log.ts';
import { type Bypass, type CaptureKind, captureKinds, type SameNode } from '../lib/pod-settings.ts';
import { lastWordsOf } from '../lib/verifier-text.ts';
import type { Capture, CaptureRow, CaptureWants } from './capture.ts';
import { EbpfCapture } from './capture-ebpf.ts';
import { canMatchCgroup, NftCapture } from './capture-nft.ts';
import { type CaptureProbe, probeCapture, withParts } from './capture-probe.ts';
import { Guard } from './guard.ts';
import { guardFeature, openTriedGuard } from './guard-probe.ts';
import type { WhenProxyDown } from './pod.ts';
import type { MarkSettings } from './pod-routes.ts';
import type { NodeSettings } from './settings.ts';
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

const noGuard: CaptureFeature = { name: 'guard', result: 'no', seen: 'was not asked for' };

/** What the machine can, told line by line, and the guard if it holds. */
async function probe(
  { podsCgroup, sameNode }: CaptureChoice,
  log: Logger,
): Promise<{ found: CaptureProbe; guard: Guard | undefined }> {
  const opened = sameNode === 'direct' ? openTriedGuard() : undefined;
  const feature = opened === undefined ? Promise.resolve(noGuard) : guardFeature(opened);
  const found = await probeCapture(podsCgroup === '' ? undefined : podsCgroup, feature);
  const results = found.features.map(({ name, result }) => [name, result]);
  log.info({ features: Object.fromEntries(results) }, 'what capture in the kernel builds on');
  for (const { name, result, seen } of found.features) {
    if (result !== 'yes') {
      log.warn({ feature: name, result, seen, ...adviceOn(name) }, 'of capture in the kernel');
    }
  }
  // Its rejection was looked at as a feature.
  return { found, guard: found.tier === 'kernel-direct' ? (await opened)?.guard : undefined };
}

function tellLost(parts: readonly LoadedPart[], log: Logger): void {
  for (const { name, reason } of parts.filter(({ works }) => !works)) {
    const { loses } = adviceOn(name);
    log.warn(
      { feature: name, loses, reason, verifier: lastWordsOf(reason) },
      'not taken by this kernel',
    );
  }
}

/** Loads the programs, and sets up what works with them. */
function ebpfCapture(
  choice: CaptureChoice,
  { found, guard }: { readonly found: CaptureProbe; readonly guard: Guard | undefined },
  log: Logger,
): { ebpf: EbpfCapture; report: CaptureProbe; isGuarded: boolean } {
  const { proxyCgroup, pins, podsCgroup, probeCgroup, whenProxyDown } = choice;
  if (proxyCgroup === undefined) {
    throw new MeshError('invalid', 'capture in the kernel needs --proxy-cgroup');
  }
  const cgroups = { cgroup: podsCgroup, proxyCgroup, probeCgroup };
  const hookless = partsWithoutHooks(found.features);
  const without = captureParts.filter((part) => hookless.includes(part));
  const options: NodeCaptureOptions = { pins, ...cgroups, whenProxyDown, without };
  const sockmap = { tier: new Sockmap(options, log), usual: choice.bypass };
  if (choice.bypass === 'sockmap') {
    sockmap.tier.check();
  }
  const node = new NodeCapture(options);
  tellLost(node.parts(), log);
  const report = withParts(found, node.parts());
  const isDirect = report.tier === 'kernel-direct';
  if (!isDirect && choice.sameNode === 'direct') {
    log.warn({ reasons: report.reasons }, 'pods of this node have tunnels between them, too');
  }
  const held = isDirect ? guard : undefined;
  const ebpf = new EbpfCapture(node, options, held, log, sockmap);
  return { ebpf, report, isGuarded: held !== undefined };
}

/**
 * Both ways, on a node whose kernel takes our programs: a pod may want the other one. A pod is
 * captured in the new way before the old one gives way.
 */
export class BothCaptures implements Capture {
  readonly #rows: Readonly<Record<CaptureKind, CaptureRow>>;
  readonly #usual: CaptureKind;
  readonly #isGuarded: boolean;

  /** When it is not guarded, tables that a guard left on this node go with `retain`. */
  constructor(
    rows: Readonly<Record<CaptureKind, CaptureRow>>,
    usual: CaptureKind,
    isGuarded: boolean,
  ) {
    this.#rows = rows;
    this.#usual = usual;
    this.#isGuarded = isGuarded;
  }

  check(netnsPath: string): Promise<void> {
    return this.#rows[this.#usual].check(netnsPath);
  }

  async install(netnsPath: string, wants: CaptureWants = {}): Promise<void> {
    const want = wants.capture ?? wants.preferred ?? this.#usual;
    await this.#rows[want].install(netnsPath, wants);
    await this.#rows[want === 'nft' ? 'ebpf' : 'nft'].giveWay(netnsPath);
  }

  before(netnsPath: string): Promise<MarkSettings> {
    return this.#rows[this.#usual].before(netnsPath);
  }

  async remove(netnsPath: string, former?: MarkSettings): Promise<void> {
    await this.#rows.ebpf.giveWay(netnsPath);
    await this.#rows.nft.remove(netnsPath, former);
  }

  async retain(left: readonly string[]): Promise<void> {
    await this.#rows.ebpf.retain(left);
    await this.#rows.nft.retain(left);
    if (!this.#isGuarded) {
      await Guard.uninstall();
    }
  }

  epoch(): string {
    return captureKinds.map((kind) => this.#rows[kind].epoch()).join(' ');
  }
}

/** nftables alone; a pod that wants programs in the kernel is refused. */
class NftOnly implements Capture {
  readonly #nft: NftCapture;
  readonly #why: string;
  readonly #log: Pick<Logger, 'error' | 'warn'>;
  #warned = false;

  constructor(nft: NftCapture, why: string, log: Pick<Logger, 'error' | 'warn'>) {
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
    if (wants.preferred === 'ebpf' && !this.#warned) {
      this.#warned = true;
      const reason = `no capture in the kernel here: ${this.#why}`;
      this.#log.warn({ reason }, 'pods are not captured as the mesh wants it');
    }
    if (wants.bypass === 'sockmap') {
      const reason = `it needs capture in the kernel: ${this.#why}`;
      this.#log.error({ netns: netnsPath, reason }, 'a pod asks for the sockmap tier in vain');
    }
    await this.#nft.install(netnsPath);
  }

  before(netnsPath: string): Promise<MarkSettings> {
    return this.#nft.before(netnsPath);
  }

  remove(netnsPath: string, former?: MarkSettings): Promise<void> {
    return this.#nft.remove(netnsPath, former);
  }

  // Programs of an earlier run stay in force in pods that they captured, and need their guard.
  async retain(): Promise<void> {}

  epoch(): string {
    return this.#nft.epoch();
  }
}

/** A way of capture, and why it is this one. */
export interface ChosenCapture {
  readonly capture: Capture;
  readonly report: CaptureProbe;
  readonly node: NodeSettings;
}

function nftOnly({ bypass }: CaptureChoice, nft: NftCapture, why: string, log: Logger): NftOnly {
  if (bypass === 'sockmap') {
    throw new MeshError('unsupported', `the sockmap tier needs capture in the kernel: ${why}`);
  }
  return new NftOnly(nft, why, log);
}

/** Sets capture up. Throws MeshError when what was asked for by name cannot be had. */
export async function chooseCapture(choice: CaptureChoice, log: Logger): Promise<ChosenCapture> {
  const { mode, whenProxyDown } = choice;
  if (mode === 'nft' && whenProxyDown === 'pass') {
    throw new MeshError('unsupported', 'nftables captures also when there is no proxy');
  }
  const nft = await nftCapture(choice.proxyCgroup, log);
  const byRules = (why: string, features: CaptureProbe['features']): ChosenCapture => {
    const report: CaptureProbe = { tier: 'nftables', reasons: [why], features };
    const only = { capture: 'nft', hasEbpf: false, sameNode: 'tunnel', bypass: 'none' } as const;
    return { capture: nftOnly(choice, nft, why, log), report, node: only };
  };
  if (mode === 'nft') {
    log.info({ tier: 'nftables', reason: 'it was asked for' }, 'capture');
    return byRules('nftables was asked for', []);
  }
  const probed = await probe(choice, log);
  const { found } = probed;
  try {
    if (found.tier === 'nftables') {
      throw new MeshError('unsupported', found.reasons.join('; '));
    }
    const { ebpf, report, isGuarded } = ebpfCapture(choice, probed, log);
    log.info({ tier: report.tier, pins: choice.pins }, 'capture');
    const capture = new BothCaptures({ ebpf, nft }, 'ebpf', isGuarded);
    const sameNode = isGuarded ? 'direct' : 'tunnel';
    const node: NodeSettings = { capture: 'ebpf', hasEbpf: true, sameNode, bypass: choice.bypass };
    return { capture, report, node };
  } catch (error) {
    const { message } = MeshError.from(error);
    if (mode === 'ebpf' || choice.bypass === 'sockmap') {
      throw new MeshError('unsupported', `capture in the kernel: ${message}`, { cause: error });
    }
    log.warn({ tier: 'nftables', reason: message }, 'no capture in the kernel');
    if (whenProxyDown === 'pass') {
      log.warn('what pods open without a proxy is refused, since nftables cannot let it pass');
    }
    return byRules(message, found.features);
  }
}
