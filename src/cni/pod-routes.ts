// SPDX-License-Identifier: Apache-2.0
// Policy routing in a pod's namespace: what has the mark comes back over lo. An application answers a
// client whose address the proxy bound, and that answer would otherwise leave by the uplink.
import { MeshError } from '../lib/error.ts';
import { mustRun, runProgram } from '../lib/program.ts';

/** The mark of connections whose answers must come back to the proxy over lo. */
export const loopMark = 0x111;
/** The bits of a mark that count. */
export const markMask = 0xfff;
const routeTable = 100;
const rulePreference = 32764;

interface RouteCommand {
  readonly args: readonly string[];
  /** What `ip` says when there was nothing to do. */
  readonly harmless: RegExp;
}

const hex = (value: number): string => `0x${value.toString(16)}`;

/**
 * The head of a command line that runs a program in the namespace at `netnsPath`. (`ip netns exec`
 * would hide /sys/fs/cgroup, in which nft looks up the proxy's cgroup.)
 */
export function inside(netnsPath: string): string[] {
  return [`--net=${netnsPath}`, '--'];
}

function routing(verb: 'add' | 'del'): RouteCommand[] {
  const harmless =
    verb === 'add' ? /File exists/ : /No such (process|file)|FIB table does not exist/;
  const mark = `${hex(loopMark)}/${hex(markMask)}`;
  const table = String(routeTable);
  return ['-4', '-6'].flatMap((family) => {
    const rule = ['rule', verb, 'fwmark', mark, 'pref', String(rulePreference), 'lookup', table];
    const route = ['route', verb, 'local', 'default', 'dev', 'lo', 'table', table];
    return [
      { args: [family, ...route], harmless },
      { args: [family, ...rule], harmless },
    ];
  });
}

async function hasIpv6(netnsPath: string): Promise<boolean> {
  const setting = '/proc/sys/net/ipv6/conf/lo/disable_ipv6';
  const result = await runProgram('nsenter', [...inside(netnsPath), 'cat', setting]);
  return result.code === 0 && result.stdout.trim() === '0';
}

async function apply(netnsPath: string, verb: 'add' | 'del'): Promise<void> {
  const ipv6 = await hasIpv6(netnsPath);
  for (const { args, harmless } of routing(verb)) {
    if (!ipv6 && args[0] === '-6') {
      continue;
    }
    const result = await runProgram('nsenter', [...inside(netnsPath), 'ip', ...args]);
    if (result.code !== 0 && !harmless.test(result.stderr)) {
      throw new MeshError('internal', `ip ${args.join(' ')}: ${result.stderr.trim()}`);
    }
  }
}

// An accepted socket has the mark of its connection's SYN then. It is all that outlives a removal:
// the pod may have had it before us, and without our rules it matters to a SYN that the pod's own
// rules mark, and to no other. Answers whether it is in force.
async function acceptMarks(netnsPath: string): Promise<boolean> {
  const setting = '/proc/sys/net/ipv4/tcp_fwmark_accept';
  const { code } = await runProgram('nsenter', [...inside(netnsPath), 'tee', setting], {
    input: '1',
  });
  return code === 0;
}

/**
 * Lets what the kernel says for no socket, such as that nobody listens at a port, have the mark of
 * the packet that it answers: it would leave for the client otherwise, and the proxy wait for it.
 * Outlives a removal as the other setting does. Throws MeshError.
 */
export async function reflectMarks(netnsPath: string): Promise<void> {
  const families = (await hasIpv6(netnsPath)) ? ['ipv4', 'ipv6'] : ['ipv4'];
  const settings = families.map((family) => `/proc/sys/net/${family}/fwmark_reflect`);
  await mustRun('nsenter', [...inside(netnsPath), 'tee', ...settings], { input: '1' });
}

/** Adds the routes. Answers whether accepted sockets take over marks. Throws MeshError. */
export async function addReturnRoutes(netnsPath: string): Promise<boolean> {
  await apply(netnsPath, 'add');
  return await acceptMarks(netnsPath);
}

/** Takes the routes away again. Throws MeshError. */
export async function removeReturnRoutes(netnsPath: string): Promise<void> {
  await apply(netnsPath, 'del');
}
