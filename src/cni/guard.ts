// SPDX-License-Identifier: Apache-2.0
// Keeps addresses of pods from everybody else: a packet whose source is an enrolled pod's address is dropped
// on this node unless it comes by that pod's own cable. A connection that is authorized by its
// addresses is what it says then. Where pods hang on a bridge, ARP is held to the same.
import { isIPv4 } from 'node:net';
import { z } from 'zod';
import { MeshError } from '../lib/error.ts';
import { mustRun, runProgram } from '../lib/program.ts';
import { inside } from './pod-routes.ts';

// Another layout is another name: what an older agent made goes with its uninstall.
const table = 'weft_guard_1';

const rules = `table inet ${table} {
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
`;
const bridgeRules = `table bridge ${table} {
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
`;

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

async function linksOf(command: readonly string[]): Promise<Link[]> {
  const [file = '', ...args] = [...command, 'ip', '-j', 'link'];
  return linkList.parse(JSON.parse(await mustRun(file, args)));
}

/** Whether this node sends what is for `address` by one of these interfaces. */
async function isReachedBy(address: string, devices: readonly string[]): Promise<boolean> {
  const { code, stdout } = await runProgram('ip', ['-j', 'route', 'get', address]);
  const [route] = code === 0 ? routeList.parse(JSON.parse(stdout)) : [];
  return route !== undefined && devices.includes(route.dev);
}

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

/** The guard of this node's network namespace. Needs root, `nft` and `ip`. */
export class Guard {
  readonly #families: readonly string[];

  private constructor(families: readonly string[]) {
    this.#families = families;
  }

  /** Puts the rules into force, with what they hold already. Throws MeshError. */
  static async open(): Promise<Guard> {
    const families: string[] = [];
    for (const [family, text] of [
      ['inet', rules],
      ['bridge', bridgeRules],
    ] as const) {
      const found = await runProgram('nft', ['list', 'table', family, table]);
      const made = found.code === 0 ? found : await runProgram('nft', ['-f', '-'], { input: text });
      if (made.code === 0) {
        families.push(family);
      } else if (family === 'inet') {
        throw new MeshError('unsupported', `nft: ${made.stderr.trim()}`);
      }
    }
    return new Guard(families);
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
    if (cables.some(({ master }) => master !== undefined) && !this.#families.includes('bridge')) {
      return 'it hangs on a bridge, whose frames this kernel cannot filter';
    }
    // A pod may name any address as its own, that of the control plane, too: the node knows better.
    const devices = cables.flatMap(({ ifname, master }) => master ?? ifname);
    for (const address of addresses) {
      if (!(await isReachedBy(address, devices))) {
        return `the node does not reach ${address} by its cable`;
      }
    }
    const indices = cables.map(({ ifindex }) => ifindex);
    const input = elementsOf('add', this.#families, indices, addresses);
    await mustRun('nft', ['-f', '-'], { input });
    return undefined;
  }

  /** No longer does. */
  async remove(netnsPath: string, addresses: readonly string[]): Promise<void> {
    const indices = (await this.#cables(netnsPath)).map(({ ifindex }) => ifindex);
    // One by one: what is not there is no error.
    for (const line of elementsOf('delete', this.#families, indices, addresses).split('\n')) {
      await runProgram('nft', ['-f', '-'], { input: `${line}\n` });
    }
  }

  async #cables(netnsPath: string): Promise<Link[]> {
    const inner = await linksOf(['nsenter', ...inside(netnsPath)]);
    const outer = await linksOf(['env']);
    return cablesOf(inner, outer);
  }
}
