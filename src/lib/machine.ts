// SPDX-License-Identifier: Apache-2.0
// What this machine can do for the mesh. Probed for real, in throw-away network namespaces.
import { accessSync, constants, mkdirSync, readFileSync, rmdirSync } from 'node:fs';
import { release } from 'node:os';
import { join, relative } from 'node:path';
import { MeshError } from './error.ts';
import { runProgram } from './program.ts';

/** One thing the mesh wants of a machine. */
export interface Capability {
  readonly name: string;
  readonly ok: boolean;
  /** What was found: a version, or the first line of the refusal. */
  readonly seen: string;
  /** Without a required one nothing can be captured; the others make it safer or faster. */
  readonly required: boolean;
  /** How to get it; for a person. */
  readonly how: string;
}

/** The oldest kernel the mesh runs on. */
export const kernelMin: readonly [number, number] = [5, 10];

const nftProbe = `table inet weft_probe {
  chain inbound {
    type nat hook prerouting priority dstnat
    tcp dport 80 redirect to :15006
  }
  chain outbound {
    type nat hook output priority -100
    meta mark & 0xfff == 0x539 accept
    fib daddr type local accept
    meta l4proto tcp redirect to :15001
  }
  chain marks {
    type filter hook prerouting priority mangle
    ct mark set ct mark & 0xfffff000 | 0x111
  }
}
`;

const routeProbe = (family: 4 | 6): string[] => [
  `ip -${family} rule add fwmark 0x111/0xfff lookup 100`,
  `ip -${family} route add local default dev lo table 100`,
];

/** The major and minor version in a kernel release such as "6.1.0-13-amd64"; undefined if none. */
export function kernelVersionOf(text: string): readonly [number, number] | undefined {
  const match = /^(\d+)\.(\d+)/.exec(text);
  return match === null ? undefined : [Number(match[1]), Number(match[2])];
}

/** Where cgroup v2 is mounted, by the text of /proc/mounts; hybrid machines mount it deeper. */
export function cgroup2RootOf(mounts: string): string | undefined {
  const line = mounts.split('\n').find((mount) => mount.split(' ')[2] === 'cgroup2');
  return line?.split(' ')[1];
}

/** Which of `wanted` the first processor in /proc/cpuinfo's text has. */
export function cpuFlagsOf(cpuinfo: string, wanted: readonly string[]): string[] {
  const flags = new Set(/^flags\s*:\s*(.*)$/m.exec(cpuinfo)?.[1]?.split(' ') ?? []);
  return wanted.filter((flag) => flags.has(flag));
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Runs a command in a new network namespace: "" when it worked, else why not, in one line. */
async function refusal(command: readonly string[], input = ''): Promise<string> {
  try {
    const result = await runProgram('unshare', ['--net', '--', ...command], { input });
    const said = (result.stderr || result.stdout).trim().split('\n')[0] ?? '';
    return result.code === 0 ? '' : said || `exit code ${result.code}`;
  } catch (error) {
    return MeshError.from(error).message;
  }
}

async function inNamespace(
  wanted: Pick<Capability, 'name' | 'required' | 'how'>,
  command: readonly string[],
  input = '',
): Promise<Capability> {
  const why = await refusal(command, input);
  return { ...wanted, ok: why === '', seen: why === '' ? 'works' : why };
}

async function cgroupMatch(): Promise<Capability> {
  const how = 'load nft_socket: a kernel with CONFIG_NFT_SOCKET and cgroup v2 mounted';
  const wanted = { name: 'nftables: match by cgroup v2', required: false, how };
  const top = cgroup2RootOf(readText('/proc/mounts'));
  if (top === undefined) {
    return { ...wanted, ok: false, seen: 'cgroup v2 is not mounted' };
  }
  const folder = join(top, `weft-probe-${process.pid}`);
  try {
    mkdirSync(folder);
  } catch (error) {
    return { ...wanted, ok: false, seen: MeshError.from(error).message };
  }
  try {
    const path = relative('/sys/fs/cgroup', folder);
    const rules = `table inet weft_probe {
  chain outbound {
    type nat hook output priority -100
    socket cgroupv2 level 1 "${path}" accept
  }
}
`;
    return await inNamespace(wanted, ['nft', '-f', '-'], rules);
  } finally {
    rmdirSync(folder);
  }
}

function kernelRow(): Capability {
  const [major, minor] = kernelVersionOf(release()) ?? [0, 0];
  const ok = major > kernelMin[0] || (major === kernelMin[0] && minor >= kernelMin[1]);
  const how = 'boot Linux 5.10 or later (Debian 12 has 6.1)';
  return { name: 'kernel', ok, seen: release(), required: true, how };
}

function rootRow(): Capability {
  const uid = process.getuid?.() ?? -1;
  const how = 'run it as root (sudo)';
  return { name: 'root', ok: uid === 0, seen: `uid ${uid}`, required: true, how };
}

function ipv6Row(): Capability {
  const off = readText('/proc/sys/net/ipv6/conf/all/disable_ipv6').trim();
  const seen = off === '' ? 'not in this kernel' : off === '0' ? 'on' : 'disabled by sysctl';
  const how = 'sysctl net.ipv6.conf.all.disable_ipv6=0, or boot without ipv6.disable=1';
  return { name: 'IPv6', ok: off === '0', seen, required: true, how };
}

function cpuRow(): Capability {
  const wanted = ['avx512f', 'avx512ifma', 'avx512vl', 'vaes', 'vpclmulqdq'];
  const found = cpuFlagsOf(readText('/proc/cpuinfo'), wanted);
  const how = 'a CPU with AVX-512 IFMA and VAES makes TLS cheaper; nothing needs it';
  const seen = found.length === 0 ? 'none' : found.join(' ');
  const ok = found.length === wanted.length;
  return { name: 'AVX-512 for TLS', ok, seen, required: false, how };
}

/** The programs the node agent and the lab start, and the Debian packages that have them. */
const tools: Readonly<Record<string, string>> = {
  ip: 'iproute2',
  nft: 'nftables',
  nsenter: 'util-linux',
  unshare: 'util-linux',
  curl: 'curl',
  nginx: 'nginx-light',
  tcpdump: 'tcpdump',
  dnsmasq: 'dnsmasq-base',
  faketime: 'faketime',
};

function isProgram(name: string): boolean {
  const folders = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`.split(':');
  return folders.some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function toolRow(): Capability {
  const gone = Object.keys(tools).filter((name) => !isProgram(name));
  const packages = [...new Set(gone.map((name) => tools[name]))].join(' ');
  const seen = gone.length === 0 ? Object.keys(tools).join(' ') : `missing: ${gone.join(' ')}`;
  const how = `apt-get install --no-install-recommends ${packages}`.trim();
  return { name: 'programs', ok: gone.length === 0, seen, required: true, how };
}

const namespaceHow = 'root needs CAP_SYS_ADMIN and CAP_NET_ADMIN (docker run --privileged)';

/** Probes one after the other, in the order a person would fix them. Leaves nothing behind. */
export async function probeMachine(): Promise<Capability[]> {
  const required = true;
  const routing = ['ip link set lo up', ...routeProbe(4), ...routeProbe(6)].join('\n');
  return [
    rootRow(),
    kernelRow(),
    toolRow(),
    await inNamespace({ name: 'network namespaces', required, how: namespaceHow }, ['true']),
    await inNamespace(
      { name: 'veth', required, how: 'modprobe veth, or a kernel with CONFIG_VETH' },
      ['ip', 'link', 'add', 'weft0', 'type', 'veth', 'peer', 'name', 'weft1'],
    ),
    await inNamespace(
      { name: 'nftables: redirect', required, how: 'modprobe nft_redir nft_fib_inet nft_ct' },
      ['nft', '-f', '-'],
      nftProbe,
    ),
    await inNamespace(
      {
        name: 'policy routing',
        required,
        how: 'a kernel with CONFIG_IP_MULTIPLE_TABLES and CONFIG_IPV6_MULTIPLE_TABLES',
      },
      ['sh', '-ec', routing],
    ),
    ipv6Row(),
    await cgroupMatch(),
    cpuRow(),
  ];
}

/** The required capabilities that are missing; empty when the mesh can run here. */
export function missingOf(rows: readonly Capability[]): Capability[] {
  return rows.filter((row) => row.required && !row.ok);
}

/** What is missing and how to get it, a line each, for a person. */
export function describeMissing(rows: readonly Capability[]): string {
  return missingOf(rows)
    .map((row) => `missing: ${row.name} (${row.seen}); ${row.how}\n`)
    .join('');
}
