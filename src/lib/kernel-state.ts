// SPDX-License-Identifier: Apache-2.0
// What the kernel says of itself and of this process, by the text of its files.

/** Capabilities that capture in the kernel wants, by number, and what for. */
const wanted: readonly [bit: bigint, name: string, purpose: string][] = [
  [12n, 'CAP_NET_ADMIN', 'attach programs to networks'],
  [21n, 'CAP_SYS_ADMIN', "enter pods' namespaces"],
  [38n, 'CAP_PERFMON', 'read the kernel in a program'],
  [39n, 'CAP_BPF', 'load programs'],
];
// Linux grants with it what these two are for, which are younger (5.8).
const coveredByAdmin: readonly string[] = ['CAP_PERFMON', 'CAP_BPF'];

/** A capability that a process lacks. */
export interface MissingCapability {
  readonly name: string;
  /** What it is for. */
  readonly purpose: string;
  /** Another one that the process has serves as well. */
  readonly isCovered: boolean;
}

/** Those of capture that a process lacks, by the text of its /proc/PID/status. */
export function missingCapabilities(status: string): MissingCapability[] {
  const found = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1];
  const effective = BigInt(`0x${found ?? '0'}`);
  const lacks = ([bit]: (typeof wanted)[number]): boolean => ((effective >> bit) & 1n) === 0n;
  const missing = wanted.filter(lacks);
  const isAdmin = !missing.some(([, name]) => name === 'CAP_SYS_ADMIN');
  return missing.map(([, name, purpose]) => {
    return { name, purpose, isCovered: isAdmin && coveredByAdmin.includes(name) };
  });
}

/** How far the kernel is locked, by the text of /sys/kernel/security/lockdown. */
export function lockdownOf(text: string): string {
  return /\[(\w+)\]/.exec(text)?.[1] ?? 'none';
}

/** Where cgroup v2 is, and beside what. */
export interface CgroupMounts {
  /** `hybrid`: controllers are in hierarchies of version 1 beside it. */
  readonly mode: 'unified' | 'hybrid' | 'legacy' | 'none';
  /** Where version 2 is mounted first. */
  readonly root?: string;
}

/** By the text of /proc/mounts. */
export function cgroupMountsOf(mounts: string): CgroupMounts {
  const lines = mounts.split('\n').map((line) => line.split(' '));
  const root = lines.find(([, , type]) => type === 'cgroup2')?.[1];
  const hasLegacy = lines.some(([, , type]) => type === 'cgroup');
  if (root === undefined) {
    return { mode: hasLegacy ? 'legacy' : 'none' };
  }
  return { mode: hasLegacy ? 'hybrid' : 'unified', root };
}
