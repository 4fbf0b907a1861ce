// SPDX-License-Identifier: Apache-2.0
// Keeps addresses of pods from everybody else: a packet whose source is an enrolled pod's address is dropped
// on this node unless it comes by that pod's own cable. A connection that is authorized by its
// addresses is what it says then. Where pods hang on a bridge, ARP is held to the same.
import { isIPv4 } from 'node:net';
import { z } from 'zod';
import { MeshError } from '../lib/error.ts';
import { mustRun, type ProgramResult, runProgram } from '../lib/program.ts';
import { inside } from './pod-routes.ts';

/** The name of its tables. Another layout is another name: what an older agent made goes with its uninstall. */
export const guardTable = 'weft_guard_1';
const table = guardTable;

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
  chain foreign {
    type filter hook prerouting priority -300; policy accept;
    ip saddr @own4 iif . ip saddr != @cables4 counter drop
    ip6 saddr @own6 iif . ip6 saddr != @cables6 counter drop
    arp saddr ip @own4 iif . arp saddr ip != @cables4 counter drop
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
}

const linkList: z.ZodType<Link[]> = z.array(
  z.object({
    ifname: z.string(),
    ifindex: z.int(),
    link_index: z.int().optional(),
    master: z.string().optional(),
  }),
);

const routeList = z.array(z.object({ dev: z.string() }));

// What is in force, as `nft -j list table` tells of it: addresses, and interfaces with addresses.
const pairList = z.object({
  nftables: z.array(
    z.object({
      set: z
        .object({
          name: z.string(),
          elem: z
            .array(
              z.union([
                z.string(),
                z.object({ concat: z.tuple([z.union([z.string(), z.int()]), z.string()]) }),
              ]),
            )
            .default([]),
        })
        .optional(),
    }),
  ),
});

/** The node's ends of the cables whose other end is among `inner`, both of which say so. */
export function cablesOf(inner: readonly Link[], outer: readonly Link[]): Link[] {
  return outer.filter((far) =>
    inner.some((near) => near.link_index === far.ifindex && far.link_index === near.ifindex),
  );
}

/** The nft transaction that gives, or takes from, these cables these addresses. */
export function elementsOf(
  verb: 'add' | 'delete',
  families: readonly string[],
  cables: readonly number[],
  addresses: readonly string[],
): string {
  const lines = families.flatMap((family) =>
    addresses.flatMap((address) => {
      const kind = isIPv4(address) ? 4 : 6;
      const own = `${verb} element ${family} ${table} own${kind} { ${address} }`;
      const pairs = cables.map((cable) => {
        return `${verb} element ${family} ${table} cables${kind} { ${cable} . ${address} }`;
      });
      // The cable first: between two transactions an address without one would be nobody's.
      return verb === 'add' ? [...pairs, own] : [own, ...pairs];
    }),
  );
  return `${lines.join('\n')}\n`;
}

/** The guard of a node's network namespace. Needs root, `nft` and `ip`. */
export class Guard {
  /** Those that it has a table in. */
  readonly families: readonly GuardFamily[];
  readonly #node: readonly string[];

  /**
   * Over tables that are there: see `open`. Commands that begin with `node` run in the node's
   * namespace; this process is in it when that is empty.
   */
  constructor(families: readonly GuardFamily[], node: readonly string[] = []) {
    this.families = families;
    this.#node = node;
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

  /** Takes the rules away. */
  static async uninstall(): Promise<void> {
    for (const family of ['inet', 'bridge']) {
      await runProgram('nft', ['delete', 'table', family, table]).catch(() => undefined);
    }
  }

  /**
   * Keeps `addresses` for the pod at `netnsPath`. Answers why that cannot be, or nothing. Throws
   * MeshError when the kernel refuses.
   */
  async add(netnsPath: string, addresses: readonly string[]): Promise<string | undefined> {
    const cables = await this.#cables(netnsPath);
    if (cables.length === 0) {
      return 'the node has no end of a cable of it';
    }
    if (cables.some(({ master }) => master !== undefined) && !this.families.includes('bridge')) {
      return 'it hangs on a bridge, whose frames this kernel cannot filter';
    }
    // A pod may name any address as its own, that of the control plane, too: the node knows better.
    const devices = cables.flatMap(({ ifname, master }) => master ?? ifname);
    for (const address of addresses) {
      if (!(await this.#isReachedBy(address, devices))) {
        return `the node does not reach ${address} by its cable`;
      }
    }
    const indices = cables.map(({ ifindex }) => ifindex);
    await this.#run(['nft', '-f', '-'], elementsOf('add', this.families, indices, addresses));
    return undefined;
  }

  /** No longer does. */
  async remove(netnsPath: string, addresses: readonly string[]): Promise<void> {
    const indices = (await this.#cables(netnsPath)).map(({ ifindex }) => ifindex);
    // One by one: what is not there is no error.
    for (const line of elementsOf('delete', this.families, indices, addresses).split('\n')) {
      await this.#try(['nft', '-f', '-'], `${line}\n`);
    }
  }

  /** No longer keeps `addresses` for anybody, by whatever cable, also one that is gone. */
  async forget(addresses: readonly string[]): Promise<void> {
    if ((await this.#forget(addresses)).code !== 0) {
      // An interface went meanwhile, and is called by its number now.
      const { code, stderr } = await this.#forget(addresses);
      if (code !== 0) {
        throw new MeshError('internal', `nft: ${stderr.trim()}`);
      }
    }
  }

  async #forget(addresses: readonly string[]): Promise<ProgramResult> {
    const found = await Promise.all(this.families.map((each) => this.#linesOf(each, addresses)));
    const lines = found.flat();
    return lines.length === 0
      ? { code: 0, signal: '', stdout: '', stderr: '' }
      : await this.#try(['nft', '-f', '-'], `${lines.join('\n')}\n`);
  }

  async #linesOf(family: GuardFamily, addresses: readonly string[]): Promise<string[]> {
    const text = await this.#run(['nft', '-j', 'list', 'table', family, table]);
    const { nftables } = pairList.parse(JSON.parse(text));
    return nftables.flatMap(({ set }) =>
      (set?.elem ?? []).flatMap((element) => {
        const [device, address] = typeof element === 'string' ? [] : element.concat;
        if (address === undefined || !addresses.includes(address)) {
          return [];
        }
        const own = `element ${family} ${table} own${isIPv4(address) ? 4 : 6} { ${address} }`;
        const pair = `element ${family} ${table} ${set?.name} { ${device} . ${address} }`;
        // Both cables of an address name it: what is there twice is taken away once.
        return [`add ${own}`, `delete ${own}`, `delete ${pair}`];
      }),
    );
  }

  /** Whether the node sends what is for `address` by one of these interfaces. */
  async #isReachedBy(address: string, devices: readonly string[]): Promise<boolean> {
    const { code, stdout } = await this.#try(['ip', '-j', 'route', 'get', address]);
    const [route] = code === 0 ? routeList.parse(JSON.parse(stdout)) : [];
    return route !== undefined && devices.includes(route.dev);
  }

  async #cables(netnsPath: string): Promise<Link[]> {
    const [inner, outer] = await Promise.all([
      mustRun('nsenter', [...inside(netnsPath), 'ip', '-j', 'link']),
      this.#run(['ip', '-j', 'link']),
    ]);
    return cablesOf(linkList.parse(JSON.parse(inner)), linkList.parse(JSON.parse(outer)));
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
