// SPDX-License-Identifier: Apache-2.0
// Keeps addresses of pods from everybody else: a packet whose source is an enrolled pod's address is dropped
// on this node unless it comes by that pod's own cable. A connection that is authorized by its
// addresses is what it says then. Where pods hang on a bridge, ARP is held to the same, and so is who
// advertises an address of IPv6 as a neighbour's, and the MAC that a frame says to come from, by which a
// bridge learns who is where.
import { statSync } from 'node:fs';
import { isIPv4 } from 'node:net';
import { z } from 'zod';
import { MeshError } from '../lib/error.ts';
import { parseIp } from '../lib/ip.ts';
import { mustRun, type ProgramResult, runProgram } from '../lib/program.ts';
import { inside } from './pod-routes.ts';

/** The name of its tables. Another layout is another name: what an older agent made goes with its uninstall. */
export const guardTable = 'weft_guard_2';
const table = guardTable;

/** Its tables of every layout, as `nft list tables` tells of them. */
const anyGuardTable = /^table (inet|bridge) (weft_guard_\d+)$/gm;

/** What tries of it use as a pod's addresses; of documentation (RFC 5737, RFC 3849): nobody has them. */
export const triedAddresses = { ipv4: '192.0.2.254', ipv6: '2001:db8:ffff::254' } as const;

/** The families of nftables that it has a table in: what is routed, and what passes a bridge. */
export const guardFamilies = ['inet', 'bridge'] as const;
export type GuardFamily = (typeof guardFamilies)[number];

const rulesOf: Readonly<Record<GuardFamily, string>> = {
  inet: `table inet ${table} {
  set own4 { type ipv4_addr; }
  set own6 { type ipv6_addr; }
  set cables4 { type iface_index . ipv4_addr; }
  set cables6 { type iface_index . ipv6_addr; }
  chain foreign {
    type filter hook prerouting priority raw; policy accept;
    ip saddr @own4 iif . ip saddr != @cables4 counter drop
    ip6 saddr @own6 iif . ip6 saddr != @cables6 counter drop
  }
}
`,
  bridge: `table bridge ${table} {
  set own4 { type ipv4_addr; }
  set own6 { type ipv6_addr; }
  set cables4 { type iface_index . ipv4_addr; }
  set cables6 { type iface_index . ipv6_addr; }
  set targets { typeof @th,64,128; }
  set targetcables { typeof iif . @th,64,128; }
  set macs { type ether_addr; }
  set maccables { type iface_index . ether_addr; }
  chain foreign {
    type filter hook prerouting priority -300; policy accept;
    ether saddr @macs iif . ether saddr != @maccables counter drop
    ip saddr @own4 iif . ip saddr != @cables4 counter drop
    ip6 saddr @own6 iif . ip6 saddr != @cables6 counter drop
    arp saddr ip @own4 iif . arp saddr ip != @cables4 counter drop
    icmpv6 type nd-neighbor-advert @th,64,128 @targets iif . @th,64,128 != @targetcables counter drop
  }
}
`,
};

/** An interface, as `ip -j link` tells of it. */
export interface Link {
  readonly ifname: string;
  readonly ifindex: number;
  /** The other end of a cable, in whatever namespace that is. */
  readonly link_index?: number | undefined;
  /** The bridge that it hangs on. */
  readonly master?: string | undefined;
  /** Its MAC. */
  readonly address?: string | undefined;
}

const linkList: z.ZodType<Link[]> = z.array(
  z.object({
    ifname: z.string(),
    ifindex: z.int(),
    link_index: z.int().optional(),
    master: z.string().optional(),
    address: z.string().optional(),
  }),
);

/** Interfaces of the node, by the family whose table they are in. */
type Cables = Readonly<Record<GuardFamily, readonly number[]>>;

/** What is kept for one pod. */
interface Kept {
  readonly cables: Cables;
  /** Of IP, and MACs. */
  readonly addresses: readonly string[];
}

/** An element of a set: an interface by its name, or its number when it is gone, and an address. */
interface Pair {
  readonly device: string | number;
  readonly address: string;
}

/** Two sets that belong together, and how an address stands in them. */
interface SetPair {
  readonly own: string;
  readonly cables: string;
  readonly value: string;
}

const setNames: Readonly<Record<GuardFamily, readonly string[]>> = {
  inet: ['own4', 'own6', 'cables4', 'cables6'],
  bridge: [
    ...['own4', 'own6', 'cables4', 'cables6'],
    ...['targets', 'targetcables', 'macs', 'maccables'],
  ],
};

/** The sets of pairs whose addresses are text: the targets say the same as those of IPv6. */
const pairSets: readonly string[] = ['cables4', 'cables6', 'maccables'];

const isMac = (address: string): boolean => /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(address);

/** Where an address stands in a family; nowhere for a MAC where nothing looks at that. */
function setsOf(family: GuardFamily, address: string): SetPair[] {
  if (isMac(address)) {
    return family === 'bridge' ? [{ own: 'macs', cables: 'maccables', value: address }] : [];
  }
  const kind = isIPv4(address) ? 4 : 6;
  const plain = { own: `own${kind}`, cables: `cables${kind}`, value: address };
  if (family === 'inet' || kind === 4) {
    return [plain];
  }
  return [plain, { own: 'targets', cables: 'targetcables', value: targetOf(address) }];
}

/** An address of IPv6 as nft has it where it has no name for the field: a number of 128 bits. */
function targetOf(address: string): string {
  return `0x${Buffer.from(parseIp(address) ?? []).toString('hex')}`;
}

/** The lines of nft that give one cable one address. */
function pairLines(family: GuardFamily, { device, address }: Pair): string[] {
  return setsOf(family, address).flatMap(({ own, cables, value }) => [
    `add element ${family} ${table} ${cables} { ${nameOf(device)} . ${value} }`,
    `add element ${family} ${table} ${own} { ${value} }`,
  ]);
}

function nameOf(device: string | number): string {
  return typeof device === 'number' || /^\d+$/.test(device) ? `${device}` : `"${device}"`;
}

const routeList = z.array(z.object({ dev: z.string() }));

// What is in force, as `nft -j list table` tells of it; elements are looked at set by set.
const setList = z.object({
  nftables: z.array(
    z.object({
      set: z.object({ name: z.string(), elem: z.array(z.unknown()).default([]) }).optional(),
    }),
  ),
});
const pairElement = z.object({
  concat: z.tuple([z.union([z.string(), z.int()]), z.string()]),
});

/** The node's ends of the cables whose other end is among `inner`, both of which say so. */
export function cablesOf(inner: readonly Link[], outer: readonly Link[]): Link[] {
  return outer.filter((far) =>
    inner.some((near) => near.link_index === far.ifindex && far.link_index === near.ifindex),
  );
}

/**
 * The cables of a pod by what looks at them. A frame that a bridge passes up to IP comes by the bridge
 * then, so in `inet` that is a cable, too; who hangs on the bridge is told apart in `bridge`.
 */
export function indicesOf(cables: readonly Link[], outer: readonly Link[]): Cables {
  const own = cables.map(({ ifindex }) => ifindex);
  const masters = cables.flatMap(({ master }) => master ?? []);
  const bridges = outer.filter(({ ifname }) => masters.includes(ifname));
  const above = bridges.map(({ ifindex }) => ifindex);
  return { inet: [...new Set([...own, ...above])], bridge: own };
}

/** The MACs of a pod's ends of those cables that hang on a bridge. */
export function macsOf(inner: readonly Link[], cables: readonly Link[]): string[] {
  const bridged = cables.filter(({ master }) => master !== undefined);
  return inner.flatMap((near) => {
    const isBridged = bridged.some(({ ifindex }) => ifindex === near.link_index);
    return isBridged && near.address !== undefined ? [near.address] : [];
  });
}

/** The lines of nft that give these cables these addresses. */
function elementsOf(families: readonly GuardFamily[], { cables, addresses }: Kept): string[] {
  return families.flatMap((family) =>
    addresses.flatMap((address) =>
      cables[family].flatMap((device) => pairLines(family, { device, address })),
    ),
  );
}

/** Which namespace a path leads to; the descriptor behind it may be another's later. */
function keyOf(netnsPath: string): bigint {
  return statSync(netnsPath, { bigint: true }).ino;
}

/** The guard of a node's network namespace. Needs root, `nft` and `ip`. */
export class Guard {
  /** Those that it has a table in. */
  readonly families: readonly GuardFamily[];
  readonly #node: readonly string[];
  readonly #kept = new Map<bigint, Kept>();
  #last: Promise<unknown> = Promise.resolve();

  /**
   * Over tables that are there: see `open`. Commands that begin with `node` run in the node's
   * namespace; this process is in it when that is empty.
   */
  constructor(families: readonly GuardFamily[], node: readonly string[] = []) {
    this.families = families;
    this.#node = node;
  }

  /** The families that there is a table in, whoever made it. */
  static async inForce(): Promise<GuardFamily[]> {
    const found = await Promise.all(
      guardFamilies.map((family) => runProgram('nft', ['list', 'table', family, table])),
    );
    return guardFamilies.filter((_, at) => found[at]?.code === 0);
  }

  /** Takes the tables of this layout away that were not in force: those of families not in `before`. */
  static async undo(before: readonly GuardFamily[]): Promise<void> {
    await Guard.#removeTables((family, name) => name === table && !before.includes(family), []);
  }

  /** Puts the rules into force, with what they hold already. Throws MeshError. */
  static async open(node: readonly string[] = []): Promise<Guard> {
    const nft = (args: string[], input = ''): Promise<ProgramResult> => {
      const [file = '', ...rest] = [...node, 'nft', ...args];
      return runProgram(file, rest, { input });
    };
    const made = guardFamilies.map(async (family) => {
      const found = await nft(['list', 'table', family, table]);
      return found.code === 0 ? found : await nft(['-f', '-'], rulesOf[family]);
    });
    const results = await Promise.all(made);
    const families = guardFamilies.filter((_, at) => results[at]?.code === 0);
    if (!families.includes('inet')) {
      throw new MeshError('unsupported', `nft: ${results[0]?.stderr.trim()}`);
    }
    return new Guard(families, node);
  }

  /** Takes the rules away, of every layout, those of these families. */
  static async uninstall(
    families: readonly GuardFamily[] = guardFamilies,
    node: readonly string[] = [],
  ): Promise<void> {
    await Guard.#removeTables((family) => families.includes(family), node);
  }

  static async #removeTables(
    isWanted: (family: GuardFamily, name: string) => boolean,
    node: readonly string[],
  ): Promise<void> {
    const nft = (...args: string[]): Promise<ProgramResult | undefined> => {
      const [file = '', ...rest] = [...node, 'nft', ...args];
      return runProgram(file, rest).catch(() => undefined);
    };
    const listed = await nft('list', 'tables');
    for (const [, inFamily, name = ''] of listed?.stdout.matchAll(anyGuardTable) ?? []) {
      const family = guardFamilies.find((each) => each === inFamily);
      if (family !== undefined && isWanted(family, name)) {
        await nft('delete', 'table', family, name);
      }
    }
  }

  /**
   * Keeps `addresses` for the pod at `netnsPath`. Answers why that cannot be, or nothing. Throws
   * MeshError when the kernel refuses.
   */
  add(netnsPath: string, addresses: readonly string[]): Promise<string | undefined> {
    return this.#inTurn(async () => {
      const { cables, outer, macs } = await this.#cables(netnsPath);
      if (cables.length === 0) {
        return 'the node has no end of a cable of it';
      }
      if (cables.some(({ master }) => master !== undefined) && !this.families.includes('bridge')) {
        return 'it hangs on a bridge, whose frames this kernel cannot filter';
      }
      // A pod may name any address as its own, that of the control plane, too: the node knows better.
      const devices = cables.map(({ ifname, master }) => master ?? ifname);
      for (const address of addresses) {
        if (!(await this.#isReachedBy(address, devices))) {
          return `the node does not reach ${address} by its cable`;
        }
      }
      const key = keyOf(netnsPath);
      const taken = macs.find((mac) => this.#isOthers(key, mac, outer));
      if (taken !== undefined) {
        return `another pod has its MAC, ${taken}`;
      }
      const kept = { cables: indicesOf(cables, outer), addresses: [...addresses, ...macs] };
      await this.#run(['nft', '-f', '-'], `${elementsOf(this.families, kept).join('\n')}\n`);
      this.#kept.set(key, kept);
      return undefined;
    });
  }

  /** No longer does, by whatever cable, also one that is gone. */
  remove(netnsPath: string, addresses: readonly string[]): Promise<void> {
    return this.#inTurn(async () => {
      const key = keyOf(netnsPath);
      const all = [...new Set([...addresses, ...(this.#kept.get(key)?.addresses ?? [])])];
      this.#kept.delete(key);
      await this.#forget(all);
    });
  }

  /** No longer keeps `addresses` for anybody. */
  forget(addresses: readonly string[]): Promise<void> {
    return this.#inTurn(async () => {
      for (const [key, { addresses: own }] of this.#kept) {
        if (own.some((address) => addresses.includes(address))) {
          this.#kept.delete(key);
        }
      }
      await this.#forget(addresses);
    });
  }

  /**
   * Keeps what was added since it was opened, and of what was there before only `addresses`, and those
   * of a try that somebody makes now; tables
   * of families that it does not look at go. In one transaction each.
   */
  retain(addresses: readonly string[]): Promise<void> {
    return this.#inTurn(async () => {
      await this.#change(async () => {
        const left: readonly string[] = [...addresses, ...Object.values(triedAddresses)];
        const before = await this.#pairs((address) => left.includes(address));
        const flushes = this.families.flatMap((family) =>
          setNames[family].map((name) => `flush set ${family} ${table} ${name}`),
        );
        const again = before.flatMap(([family, pair]) => pairLines(family, pair));
        return [...flushes, ...again, ...this.#keptLines()];
      });
      const others = guardFamilies.filter((family) => !this.families.includes(family));
      await Guard.uninstall(others, this.#node);
      if (addresses.length === 0) {
        await this.#removeOlder();
      }
    });
  }

  // What an agent of another layout left would keep addresses for pods that are gone. While pods are
  // as it left them, it is all that guards these.
  async #removeOlder(): Promise<void> {
    await Guard.#removeTables((_, name) => name !== table, this.#node);
  }

  // By a cable that is still there: who is gone may have been one with the same MAC.
  #isOthers(key: bigint, mac: string, outer: readonly Link[]): boolean {
    const there = new Set(outer.map(({ ifindex }) => ifindex));
    return [...this.#kept].some(([other, { addresses, cables }]) => {
      const isThere = cables.bridge.some((cable) => there.has(cable));
      return other !== key && isThere && addresses.includes(mac);
    });
  }

  // What another pod has by now stays that one's.
  async #forget(addresses: readonly string[]): Promise<void> {
    if (addresses.length === 0) {
      return;
    }
    await this.#change(async () => {
      const gone = await this.#pairs((address) => addresses.includes(address));
      const lines = gone.flatMap(([family, { device, address }]) =>
        setsOf(family, address).flatMap(({ own, cables, value }) => {
          const element = `element ${family} ${table} ${own} { ${value} }`;
          const pair = `element ${family} ${table} ${cables} { ${nameOf(device)} . ${value} }`;
          // Each cable of an address names it: what is there twice is taken away once.
          return [`add ${element}`, `delete ${element}`, `delete ${pair}`];
        }),
      );
      const touched = gone.map(([, { address }]) => address);
      return lines.length === 0 ? [] : [...lines, ...this.#keptLines(touched)];
    });
  }

  #keptLines(only?: readonly string[]): string[] {
    return [...this.#kept.values()].flatMap(({ cables, addresses }) => {
      const wanted = addresses.filter((address) => only?.includes(address) ?? true);
      return elementsOf(this.families, { cables, addresses: wanted });
    });
  }

  // An interface that goes between the look and the change is called by its number after it.
  async #change(linesOf: () => Promise<string[]>): Promise<void> {
    for (let tried = 1; ; tried++) {
      const lines = await linesOf();
      if (lines.length === 0) {
        return;
      }
      const { code, stderr } = await this.#try(['nft', '-f', '-'], `${lines.join('\n')}\n`);
      if (code === 0) {
        return;
      }
      if (tried === 2) {
        throw new MeshError('internal', `nft: ${stderr.trim()}`);
      }
    }
  }

  /** Pairs of wanted addresses, and those of MACs that are by the same cables of bridges. */
  async #pairs(isWanted: (address: string) => boolean): Promise<[GuardFamily, Pair][]> {
    const all = await Promise.all(
      this.families.map(async (family): Promise<[GuardFamily, Pair][]> => {
        const pairs = await this.#pairsIn(family);
        const wanted = pairs.filter(({ address }) => isWanted(address));
        const devices = new Set(wanted.map(({ device }) => device));
        const macs = pairs.filter(({ device, address }) => {
          return (
            isMac(address) && devices.has(device) && !wanted.some((one) => one.address === address)
          );
        });
        return [...wanted, ...macs].map((pair) => [family, pair]);
      }),
    );
    return all.flat();
  }

  async #pairsIn(family: GuardFamily): Promise<Pair[]> {
    const text = await this.#run(['nft', '-j', 'list', 'table', family, table]);
    const { nftables } = setList.parse(JSON.parse(text));
    const elements = nftables.flatMap(({ set }) => {
      return set !== undefined && pairSets.includes(set.name) ? set.elem : [];
    });
    return elements.map((element) => {
      const [device, address] = pairElement.parse(element).concat;
      return { device, address };
    });
  }

  // One change at a time: what is in the tables is what is noted here.
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => undefined);
    return done;
  }

  /** Whether the node sends what is for `address` by one of these interfaces. */
  async #isReachedBy(address: string, devices: readonly string[]): Promise<boolean> {
    const { code, stdout } = await this.#try(['ip', '-j', 'route', 'get', address]);
    const [route] = code === 0 ? routeList.parse(JSON.parse(stdout)) : [];
    return route !== undefined && devices.includes(route.dev);
  }

  async #cables(netnsPath: string): Promise<{ cables: Link[]; outer: Link[]; macs: string[] }> {
    const [own, seen] = await Promise.all([
      mustRun('nsenter', [...inside(netnsPath), 'ip', '-j', 'link']),
      this.#run(['ip', '-j', 'link']),
    ]);
    const outer = linkList.parse(JSON.parse(seen));
    const inner = linkList.parse(JSON.parse(own));
    const cables = cablesOf(inner, outer);
    return { cables, outer, macs: macsOf(inner, cables) };
  }

  #run(command: readonly string[], input = ''): Promise<string> {
    const [file = '', ...args] = [...this.#node, ...command];
    return mustRun(file, args, { input });
  }

  #try(command: readonly string[], input = ''): Promise<ProgramResult> {
    const [file = '', ...args] = [...this.#node, ...command];
    return runProgram(file, args, { input });
  }
}
