// SPDX-License-Identifier: Apache-2.0
// Whether the guard of addresses holds, tried with frames: two scratch pods with cables to the node,
// of which one has an address and the other says so. What the first sends has to pass the guard, and
// what the second sends must not, and what the first sends over a bridge has to pass a second time, as
// that of the bridge; none of it goes any further. No pod of anybody's is touched.
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { z } from 'zod';
import { closeFd, openPath } from '../../native/index.ts';
import { type PodFrame, sendFrames } from '../../native/pod-socket.ts';
import type { CaptureFeature } from '../lib/capture-tier.ts';
import { MeshError } from '../lib/error.ts';
import { parseIp } from '../lib/ip.ts';
import { mustRun, runProgram } from '../lib/program.ts';
import { prepareSocketFolder } from '../lib/unix-socket.ts';
import { Guard, type GuardFamily, triedAddresses as own } from './guard.ts';
import {
  advertisementFrame,
  arpFrame,
  experimentalType,
  macFrame,
  packetFrame,
} from './guard-frames.ts';

/** Nobody has them either. */
const to = { ipv4: '192.0.2.1', ipv6: '2001:db8:ffff::1' } as const;

const table = 'weft_guard_probe';
const bridge = 'weftgbr';
/** The pods' ends of cables, by what passes these. */
const inPod = { inet: 'eth0', bridge: 'eth1' } as const;
const waitMs = 3_000;
const turnSeconds = 10;

/** Whoever has it locked tries the guard. Nobody but root gets into its folder. */
export const turnFile = '/run/weft-cni/guard-probe.lock';

/** The MAC of the pod that has the address, on the bridge. */
const ownMac = '02:57:45:46:54:01';
/** Who advertises the address: neither pod has this one. */
const advertiser = 'fe80::1';

const ownTarget = `0x${Buffer.from(parseIp(own.ipv6) ?? []).toString('hex')}`;

/** What is sent in each family: how a rule matches it, and its frame. */
const kinds = {
  v4: { match: `ip saddr ${own.ipv4}`, frame: packetFrame(own.ipv4, to.ipv4) },
  v6: { match: `ip6 saddr ${own.ipv6}`, frame: packetFrame(own.ipv6, to.ipv6) },
  arp: { match: `arp saddr ip ${own.ipv4}`, frame: arpFrame(own.ipv4, to.ipv4) },
  nd: {
    match: `icmpv6 type nd-neighbor-advert @th,64,128 ${ownTarget}`,
    frame: advertisementFrame(advertiser, own.ipv6),
  },
  mac: {
    match: `ether type ${experimentalType} ether saddr ${ownMac}`,
    frame: macFrame(ownMac),
  },
} as const;
type Kind = keyof typeof kinds;
const kindsOf: Readonly<Record<GuardFamily, readonly Kind[]>> = {
  inet: ['v4', 'v6'],
  bridge: ['v4', 'v6', 'arp', 'nd', 'mac'],
};
const senders = ['owner', 'stranger'] as const;

type Sender = (typeof senders)[number];
/** The node's ends: of the pod that has the address, and of the other. */
type Cables = Readonly<Record<GuardFamily, Readonly<Record<Sender, string>>>>;

// New ones each time: the kernel takes those of a pod that is gone away in its own time.
function cablesFor(id: string): Cables {
  return {
    inet: { owner: `weftg${id}0`, stranger: `weftg${id}1` },
    bridge: { owner: `weftg${id}2`, stranger: `weftg${id}3` },
  };
}

/** A counter before the guard's chain, and one behind it, for each kind and what it comes by. */
function tableOf(family: GuardFamily, cables: Cables, isBridged: boolean): string {
  const { owner, stranger } = cables[family];
  // What the owner sends over the bridge comes to IP by that.
  const ways: Record<string, string> =
    family === 'inet' && isBridged ? { owner, stranger, bridged: bridge } : { owner, stranger };
  const each = kindsOf[family].flatMap((kind) =>
    Object.entries(ways).map(([way, device]) => ({ kind, way, device })),
  );
  const names = (where: string) =>
    each.map(({ kind, way, device }) => {
      const rule = `iifname "${device}" ${kinds[kind].match}`;
      return { name: `${way}_${kind}_${where}`, rule };
    });
  const passed = kindsOf.inet.map((kind) => `    iifname "${owner}" ${kinds[kind].match} accept\n`);
  const last = family === 'bridge' ? [stranger, owner] : Object.values(ways);
  const ends = last.map((device) => `    iifname "${device}" drop\n`);
  const rules = (where: string): string =>
    names(where)
      .map(({ name, rule }) => `    ${rule} counter name ${name}\n`)
      .join('');
  const counters = [...names('before'), ...names('behind')]
    .map(({ name }) => `  counter ${name} { }\n`)
    .join('');
  return `table ${family} ${table} {
${counters}  chain before {
    type filter hook prerouting priority -301; policy accept;
${rules('before')}  }
  chain behind {
    type filter hook prerouting priority -299; policy accept;
${rules('behind')}${[...(family === 'bridge' ? passed : []), ...ends].join('')}  }
}
`;
}

const counterList = z.object({
  nftables: z.array(
    z.object({ counter: z.object({ name: z.string(), packets: z.int() }).optional() }),
  ),
});

type Pod = ChildProcessByStdio<Writable, Readable, null>;

/** Its namespace goes with its process, and that with this one. */
function startPod(): Pod {
  const script =
    'echo; read go; ip link set eth0 up; ip link set eth1 up 2>/dev/null; echo; exec cat';
  const command = ['--net', 'sh', '-c', script];
  const pod = spawn('unshare', command, { stdio: ['pipe', 'pipe', 'ignore'] });
  // One that is gone is judged by its end, not by EPIPE.
  pod.stdin.on('error', () => undefined);
  return pod;
}

/** Resolves when it is ready, and again when its links are up. */
async function said(pod: Pod): Promise<void> {
  const first = await Promise.race([once(pod.stdout, 'data'), once(pod, 'exit')]);
  if (!Buffer.isBuffer(first[0])) {
    throw new MeshError('unsupported', 'a network namespace cannot be made');
  }
}

const pathOf = (pod: Pod): string => `/proc/${pod.pid}/ns/net`;

/** One try, in the namespace of this process. */
class GuardTrial {
  readonly #guard: Guard;
  readonly #cables: Cables = cablesFor(randomBytes(3).toString('hex'));

  constructor(guard: Guard) {
    this.#guard = guard;
  }

  /** Why it does not hold in a family; nothing for one in which it does. */
  async run(): Promise<Map<GuardFamily, string>> {
    const [owner, stranger] = [startPod(), startPod()];
    try {
      await Promise.all([said(owner), said(stranger), this.#clean()]);
      const families = await this.#lay(owner, stranger);
      const left = await this.#guard.add(pathOf(owner), [own.ipv4, own.ipv6]);
      if (left !== undefined) {
        throw new MeshError('unsupported', `the scratch pod's address: ${left}`);
      }
      const verdicts = await this.#send(families, { owner, stranger });
      const missing = this.#guard.families.filter((family) => !families.includes(family));
      const why = 'a bridge cannot be made to try it with';
      return new Map([...verdicts, ...missing.map((family) => [family, why] as const)]);
    } finally {
      await this.#clean().finally(() => {
        owner.kill('SIGKILL');
        stranger.kill('SIGKILL');
      });
    }
  }

  // What one that was killed has left goes, too; cables go with their pods.
  async #clean(): Promise<void> {
    await Promise.all([
      runProgram('ip', ['link', 'del', bridge]),
      this.#guard.forget([own.ipv4, own.ipv6]),
      this.#run(
        ['nft', '-f', '-'],
        this.#guard.families
          .map((family) => `add table ${family} ${table}\ndelete table ${family} ${table}\n`)
          .join(''),
      ),
    ]);
  }

  /** Lays the cables, and answers for which families that could be done. */
  async #lay(owner: Pod, stranger: Pod): Promise<GuardFamily[]> {
    const pods = { owner, stranger } as const;
    const lines = (family: GuardFamily, last: string): string[] => {
      return senders.flatMap((sender) => {
        const end = this.#cables[family][sender];
        const mac = family === 'bridge' && sender === 'owner' ? `address ${ownMac} ` : '';
        const peer = `type veth peer name ${inPod[family]} ${mac}netns ${pathOf(pods[sender])}`;
        return [`link add ${end} ${peer}`, `link set ${end} ${last} up`];
      });
    };
    const device = this.#cables.inet.owner;
    const routes = [own.ipv4, own.ipv6].map((each) => `route replace ${each} dev ${device}`);
    const routed = [...lines('inet', ''), ...routes];
    const bridged = [
      `link add ${bridge} type bridge`,
      `link set ${bridge} up`,
      ...lines('bridge', `master ${bridge}`),
    ];
    const families: GuardFamily[] = ['inet'];
    await this.#run(['ip', '-batch', '-'], routed.join('\n'));
    if (this.#guard.families.includes('bridge')) {
      const made = await runProgram('ip', ['-batch', '-'], { input: bridged.join('\n') });
      families.push(...(made.code === 0 ? (['bridge'] as const) : []));
    }
    const up = Promise.all(
      senders.map((sender) => {
        pods[sender].stdin.write('go\n');
        return said(pods[sender]);
      }),
    );
    const isBridged = families.includes('bridge');
    const tables = families.map((family) => tableOf(family, this.#cables, isBridged)).join('');
    await Promise.all([up, this.#run(['nft', '-f', '-'], tables)]);
    return families;
  }

  // Links come up in their own time: what was not seen before the guard is sent again.
  async #send(
    families: readonly GuardFamily[],
    pods: Readonly<Record<Sender, Pod>>,
  ): Promise<Map<GuardFamily, string>> {
    const verdicts = new Map<GuardFamily, string>();
    for (const until = Date.now() + waitMs; ; ) {
      const frames = families.flatMap((family) =>
        kindsOf[family].map((kind) => ({ device: inPod[family], bytes: kinds[kind].frame })),
      );
      // The stranger first: when the owner's have passed, so would have its.
      sendFrom(pods.stranger, frames);
      sendFrom(pods.owner, frames);
      const counted = await this.#count(families);
      const isSeen = [...counted.values()].every((counters) =>
        [...counters].every(([name, packets]) => !name.endsWith('_before') || packets > 0),
      );
      if (isSeen || Date.now() > until) {
        break;
      }
    }
    const counted = await this.#count(families);
    for (const family of families) {
      const own = counted.get(family) ?? new Map<string, number>();
      const routed = counted.get('inet') ?? own;
      const why = verdictOf(family, own) || (family === 'bridge' ? bridgedVerdictOf(routed) : '');
      if (why !== '') {
        verdicts.set(family, why);
      }
    }
    return verdicts;
  }

  async #count(
    families: readonly GuardFamily[],
  ): Promise<Map<GuardFamily, ReadonlyMap<string, number>>> {
    const all = await Promise.all(
      families.map(async (family) => {
        const text = await this.#run(['nft', '-j', 'list', 'counters', 'table', family, table]);
        const { nftables } = counterList.parse(JSON.parse(text));
        const counters = nftables.flatMap(({ counter }) =>
          counter === undefined ? [] : [counter],
        );
        return [family, new Map(counters.map(({ name, packets }) => [name, packets]))] as const;
      }),
    );
    return new Map(all);
  }

  #run(command: readonly string[], input = ''): Promise<string> {
    const [file = '', ...args] = command;
    return mustRun(file, args, { input });
  }
}

function sendFrom(pod: Pod, frames: readonly PodFrame[]): void {
  const netns = openPath(pathOf(pod));
  try {
    sendFrames(netns, frames);
  } finally {
    closeFd(netns);
  }
}

const spoken: Readonly<Record<Kind, string>> = {
  v4: 'IPv4',
  v6: 'IPv6',
  arp: 'ARP',
  nd: 'neighbour discovery',
  mac: 'a frame',
};

/** Why the guard does not hold, by what was counted; empty when it does. */
export function verdictOf(family: GuardFamily, counters: ReadonlyMap<string, number>): string {
  const count = (name: string): number => counters.get(name) ?? 0;
  for (const kind of kindsOf[family]) {
    if (count(`owner_${kind}_before`) === 0 || count(`stranger_${kind}_before`) === 0) {
      return `${spoken[kind]} does not come over a cable to this node`;
    }
    if (count(`stranger_${kind}_behind`) > 0) {
      return `${spoken[kind]} from a pod's address passes by another pod's cable`;
    }
    if (count(`owner_${kind}_behind`) === 0) {
      return `${spoken[kind]} from a pod's own address does not pass`;
    }
  }
  return '';
}

/** Why what a bridge passes up to IP is cut off, by what was counted there; empty when it is not. */
export function bridgedVerdictOf(counters: ReadonlyMap<string, number>): string {
  for (const kind of kindsOf.inet) {
    if ((counters.get(`bridged_${kind}_before`) ?? 0) === 0) {
      return `${spoken[kind]} does not come over a bridge to this node`;
    }
    if ((counters.get(`bridged_${kind}_behind`) ?? 0) === 0) {
      return `${spoken[kind]} from a pod's own address on a bridge does not reach the node`;
    }
  }
  return '';
}

/** A guard that holds, and what it does not hold for. */
export interface TriedGuard {
  readonly guard: Guard;
  /** Why pods on a bridge are not guarded; empty when they are. */
  readonly bridge: string;
}

/**
 * Waits until it is this process's turn on this machine, and does `work` in it. The turn ends with the
 * process, too, however it ends: the lock is one of a child that reads what only it can write.
 */
async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  prepareSocketFolder(turnFile);
  const command = ['-w', `${turnSeconds}`, turnFile, 'sh', '-c', 'echo; exec cat'];
  const holder = spawn('flock', command, { stdio: ['pipe', 'pipe', 'ignore'] });
  holder.stdin.on('error', () => undefined);
  const [first] = await Promise.race([once(holder.stdout, 'data'), once(holder, 'exit')]);
  if (!Buffer.isBuffer(first)) {
    throw new MeshError('conflict', 'somebody else tries the guard here');
  }
  try {
    return await work();
  } finally {
    holder.stdin.end();
  }
}

async function tried(guard: Guard): Promise<TriedGuard> {
  const verdicts = await new GuardTrial(guard).run();
  const routed = verdicts.get('inet');
  if (routed !== undefined) {
    throw new MeshError('unsupported', routed);
  }
  const bridge = guard.families.includes('bridge')
    ? (verdicts.get('bridge') ?? '')
    : 'this kernel cannot filter the frames of a bridge';
  return bridge === '' ? { guard, bridge } : { guard: new Guard(['inet']), bridge };
}

/**
 * Puts the guard of the node whose namespace this process is in into force, and tries it: within a
 * third of a second. Throws MeshError with the reason when it does not hold for what is routed.
 */
export function openTriedGuard(): Promise<TriedGuard> {
  return inTurn(async () => await tried(await Guard.open()));
}

/**
 * Tries it as `openTriedGuard` does, and leaves the node as it was: a guard that was in force before
 * stays so, with what it keeps, and one that was not goes again. Whoever opens one waits for that.
 */
export function checkGuard(): Promise<TriedGuard> {
  return inTurn(async () => {
    const before = await Guard.inForce();
    try {
      return await tried(await Guard.open());
    } finally {
      await Guard.undo(before);
    }
  });
}

/** What became of a guard, as a feature; `opened` rejects with the reason where it does not hold. */
export async function guardFeature(opened: Promise<TriedGuard>): Promise<CaptureFeature> {
  const name = 'guard';
  try {
    const { bridge } = await opened;
    return bridge === ''
      ? { name, result: 'yes', seen: 'holds, for routed pods and on a bridge' }
      : { name, result: 'warn', seen: `holds for routed pods; not on a bridge: ${bridge}` };
  } catch (error) {
    return { name, result: 'no', seen: MeshError.from(error).message.split('\n')[0] ?? '' };
  }
}
