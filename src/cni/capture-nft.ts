// SPDX-License-Identifier: Apache-2.0
// Capture by nftables and policy routing in the pod's namespace.
//
// The ways a packet takes, with the pod's address P and a peer's R:
//  1. application to R:port     nat output redirects it to 15001, unless R is local to the pod.
//  2. proxy to R:15008          leaves: it is exempt by cgroup and mark, and not tracked at all.
//  3. R to P:15008              is delivered, not tracked; every other TCP port is redirected to 15006.
//  4. proxy to P:port, bound to R's address   loops over lo. Its connection is marked 0x111, and its SYN
//     is on arrival.
//  5. the application's answer to R on that connection   would leave through the uplink. The kernel
//     gives the application's socket the mark of the SYN (net.ipv4.tcp_fwmark_accept), and table 100
//     sends that mark to lo, where the proxy's socket has R's address. An application that marks its
//     listener itself gets the connection's mark packet by packet.
//  6. application to a resolver's port 53, UDP or TCP: nat output redirects it to 15053.
//  7. proxy to the pod's resolvers    leaves, and is tracked in a zone of its own: the application
//     may have used the same port just before, and that connection's redirection still stands.
//
// What is not tracked costs no look-up and no rule of nat for each packet. Only packets of the proxy's own
// sockets are: by cgroup on their way out, by the mark of the socket that they are for on their way in, so
// that a stranger who calls from port 15008 is redirected like any other. Two kinds of packets have no
// cgroup, since no socket of a process sends them: the answer to a SYN, and what the kernel says for a
// connection in TIME_WAIT. They go by mark, port and flags, the latter where no process has the socket.
import { realpathSync, statfsSync, statSync } from 'node:fs';
import { relative } from 'node:path';
import { MeshError } from '../lib/error.ts';
import { ports, proxyMark } from '../lib/ports.ts';
import { mustRun, runProgram } from '../lib/program.ts';
import type { CaptureRow } from './capture.ts';
import { checkPodNetns } from './netns.ts';
import {
  addReturnRoutes,
  inside,
  loopMark,
  type MarkSettings,
  markMask,
  readMarkSettings,
  removeReturnRoutes,
} from './pod-routes.ts';

const markKeep = 0xfffff000;
/** The connection tracking zone of the proxy's own DNS. */
const dnsZone = 1;
const dnsPort = 53;
/** The greatest number of a user. */
const userMax = 0xfffffffe;

// nft resolves cgroup paths below this folder, also where version 2 is mounted deeper.
const nftCgroupRoot = '/sys/fs/cgroup';
const cgroup2Magic = 0x63677270;
// What may stand between the quotes of an nft string.
const plainPath = /^[\w./@:-]+$/;

const hex = (value: number): string => `0x${value.toString(16)}`;

/** How the proxy's own sockets are told apart; without a cgroup by the mark alone. */
export interface ProxyCgroup {
  /** Below /sys/fs/cgroup, as nft wants it. */
  readonly path: string;
  /** How many folders `path` lies below the root of the version 2 hierarchy. */
  readonly level: number;
  readonly inode: bigint;
}

/**
 * Describes the cgroup v2 folder at `folder` for nft. Throws MeshError `unavailable` when it is
 * missing and `unsupported` when nft cannot name it.
 */
export function describeCgroup(folder: string): ProxyCgroup {
  const real = realpathOf(folder);
  const path = relative(nftCgroupRoot, real);
  // The root of the hierarchy is the topmost folder on the same device.
  const device = statSync(real).dev;
  const names = path.split('/');
  let level = 0;
  while (level < names.length && isOn(device, names.slice(0, names.length - level - 1))) {
    level += 1;
  }
  const named = plainPath.test(path) && !path.startsWith('..') && level > 0;
  if (!named || statfsSync(real).type !== cgroup2Magic) {
    throw new MeshError('unsupported', `${folder} is not a cgroup v2 folder below its root`);
  }
  return { path, level, inode: statSync(real, { bigint: true }).ino };
}

function isOn(device: number, names: readonly string[]): boolean {
  return statSync([nftCgroupRoot, ...names].join('/')).dev === device;
}

function realpathOf(folder: string): string {
  try {
    return realpathSync(folder);
  } catch (error) {
    throw MeshError.from(error);
  }
}

/** The nft transaction that captures a pod, replacing what an earlier one made. */
export function rulesOf(proxy: ProxyCgroup | undefined): string {
  const ofProxy = `& ${hex(markMask)} == ${hex(proxyMark)}`;
  const byMark = `meta mark ${ofProxy}`;
  const looped = `& ${hex(markMask)} == ${hex(loopMark)}`;
  const loop = `& ${hex(markKeep)} | ${hex(loopMark)}`;
  const isSyn = 'tcp flags & (syn | ack) == syn';
  // A pod with CAP_NET_RAW may set any mark, so the mark counts only on sockets of the proxy.
  const bySocket =
    proxy === undefined ? '' : `socket cgroupv2 level ${proxy.level} "${proxy.path}" `;
  return `table inet weft {}
delete table inet weft
table inet weft {
  chain raw_out {
    type filter hook output priority raw; policy accept;
    oif "lo" accept
    ${byMark} jump raw_proxy
  }
  chain raw_proxy {
    tcp sport { ${ports.outbound}, ${ports.inboundPlaintext}, ${ports.dns} } accept
    tcp dport ${ports.hbone} ${bySocket}notrack accept
    tcp sport ${ports.hbone} ${bySocket}notrack accept
    udp dport ${dnsPort} ${bySocket}ct zone set ${dnsZone}
    tcp sport ${ports.hbone} tcp flags & (syn | ack) == syn | ack notrack accept
    meta skuid 0-${userMax} accept
    tcp dport ${ports.hbone} tcp flags & (fin | syn | rst | psh | ack) == ack notrack accept
    tcp sport ${ports.hbone} tcp flags & (fin | syn | rst | psh | ack) == ack notrack accept
  }
  chain raw_in {
    type filter hook prerouting priority raw; policy accept;
    iif "lo" ${byMark} ${isSyn} meta mark set meta mark ${loop}
    iif "lo" accept
    tcp dport ${ports.hbone} notrack accept
    tcp sport ${ports.hbone} tcp flags & (syn | ack) != syn socket mark ${ofProxy} notrack accept
    udp sport ${dnsPort} udp dport != ${dnsPort} ct zone set ${dnsZone}
  }
  chain answer_mark {
    type route hook output priority mangle; policy accept;
    meta mark ${looped} accept
    oif "lo" ${isSyn} ${byMark} ct mark set ct mark ${loop}
    ct direction reply ct mark ${looped} meta mark set meta mark ${loop}
  }
  chain inbound {
    type nat hook prerouting priority dstnat; policy accept;
    iif "lo" accept
    tcp dport != ${ports.hbone} redirect to :${ports.inboundPlaintext}
  }
  chain outbound {
    type nat hook output priority -100; policy accept;
    ${bySocket}${byMark} accept
    fib daddr type local accept
    meta l4proto { tcp, udp } th dport ${dnsPort} redirect to :${ports.dns}
    meta l4proto tcp redirect to :${ports.outbound}
  }
}
`;
}

const removal = 'table inet weft {}\ndelete table inet weft\n';

/** Takes the rules out of the namespace, if there are any. Throws MeshError. */
export async function removeRules(netnsPath: string): Promise<void> {
  await mustRun('nsenter', [...inside(netnsPath), 'nft', '-f', '-'], { input: removal });
}

/** Whether this kernel's nftables can tell the proxy's sockets by the cgroup at `folder`. */
export async function canMatchCgroup(folder: string): Promise<boolean> {
  const rules = rulesOf(describeCgroup(folder));
  const result = await runProgram('unshare', ['--net', 'nft', '-f', '-'], { input: rules });
  return result.code === 0;
}

/** The nftables row of Capture. Needs root, `nsenter`, `nft` and `ip`. */
export class NftCapture implements CaptureRow {
  readonly #cgroup: string | undefined;

  /** `proxyCgroup` is the proxy's cgroup v2 folder; without it the mark alone exempts the proxy. */
  constructor(proxyCgroup?: string) {
    this.#cgroup = proxyCgroup;
  }

  check(netnsPath: string): Promise<void> {
    return checkPodNetns(netnsPath);
  }

  async install(netnsPath: string): Promise<void> {
    const rules = rulesOf(this.#describe());
    // Routes first: rules without them would lose answers, routes without rules do nothing. Where
    // marks are not taken over, the connection's mark does the same, at the price of a route look-up
    // for each packet: no error.
    await addReturnRoutes(netnsPath);
    await mustRun('nsenter', [...inside(netnsPath), 'nft', '-f', '-'], { input: rules });
  }

  before(netnsPath: string): Promise<MarkSettings> {
    return readMarkSettings(netnsPath);
  }

  async remove(netnsPath: string, former?: MarkSettings): Promise<void> {
    await this.giveWay(netnsPath);
    await removeReturnRoutes(netnsPath, former);
  }

  async giveWay(netnsPath: string): Promise<void> {
    await removeRules(netnsPath);
  }

  /** Its rules are in namespaces alone. */
  async retain(): Promise<void> {}

  epoch(): string {
    const cgroup = this.#describe();
    return cgroup === undefined ? 'mark' : `${cgroup.path}:${cgroup.inode}`;
  }

  #describe(): ProxyCgroup | undefined {
    return this.#cgroup === undefined ? undefined : describeCgroup(this.#cgroup);
  }
}
