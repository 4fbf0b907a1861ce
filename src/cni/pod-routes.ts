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

const settingFolder = '/proc/sys/net/';
const acceptSetting = 'ipv4/tcp_fwmark_accept';
const reflectSettings = ['ipv4/fwmark_reflect', 'ipv6/fwmark_reflect'] as const;
const inForce = '1';

/** Settings of a namespace about marks, by their paths below /proc/sys/net, as they were before us. */
export type MarkSettings = Readonly<Record<string, string>>;

async function settingsOf(netnsPath: string): Promise<string[]> {
  const ipv6 = await hasIpv6(netnsPath);
  return [acceptSetting, ...reflectSettings].filter((name) => ipv6 || name.startsWith('ipv4/'));
}

async function readSetting(netnsPath: string, name: string): Promise<string | undefined> {
  const command = [...inside(netnsPath), 'cat', `${settingFolder}${name}`];
  const { code, stdout } = await runProgram('nsenter', command);
  return code === 0 ? stdout.trim() : undefined;
}

/** Reads what capture changes of a namespace's own settings, to be put back when it leaves. */
export async function readMarkSettings(netnsPath: string): Promise<MarkSettings> {
  const names = await settingsOf(netnsPath);
  const read = names.map(async (name) => [name, await readSetting(netnsPath, name)] as const);
  const found = (await Promise.all(read)).filter(([, value]) => value !== undefined);
  return Object.fromEntries(found) as MarkSettings;
}

/**
 * Puts settings back that are as we made them; what somebody else has changed since stays. Throws
 * MeshError.
 */
export async function restoreMarkSettings(netnsPath: string, former: MarkSettings): Promise<void> {
  for (const name of await settingsOf(netnsPath)) {
    const value = former[name];
    if (value !== undefined && value !== inForce) {
      const now = await readSetting(netnsPath, name);
      await (now === inForce ? writeSettings(netnsPath, [name], value) : undefined);
    }
  }
}

async function writeSettings(
  netnsPath: string,
  names: readonly string[],
  value: string,
): Promise<void> {
  const files = names.map((name) => `${settingFolder}${name}`);
  await mustRun('nsenter', [...inside(netnsPath), 'tee', ...files], { input: value });
}

// An accepted socket has the mark of its connection's SYN then. Answers whether it is in force.
async function acceptMarks(netnsPath: string): Promise<boolean> {
  return await writeSettings(netnsPath, [acceptSetting], inForce).then(
    () => true,
    () => false,
  );
}

/**
 * Lets what the kernel says for no socket, such as that nobody listens at a port, have the mark of
 * the packet that it answers: it would leave for the client otherwise, and the proxy wait for it.
 * Throws MeshError.
 */
export async function reflectMarks(netnsPath: string): Promise<void> {
  const there = await settingsOf(netnsPath);
  const names = reflectSettings.filter((name) => there.includes(name));
  await writeSettings(netnsPath, names, inForce);
}

/** Adds the routes. Answers whether accepted sockets take over marks. Throws MeshError. */
export async function addReturnRoutes(netnsPath: string): Promise<boolean> {
  await apply(netnsPath, 'add');
  return await acceptMarks(netnsPath);
}

/** Takes the routes away again, and puts back what was set before. Throws MeshError. */
export async function removeReturnRoutes(
  netnsPath: string,
  former: MarkSettings = {},
): Promise<void> {
  await apply(netnsPath, 'del');
  await restoreMarkSettings(netnsPath, former);
}
