// SPDX-License-Identifier: Apache-2.0
// Which way of capture a machine gets, by what was tried on it. Without I/O.

/**
 * `kernel-direct`: programs in the kernel capture, and connect pods of one node without a proxy;
 * `kernel`: they capture only; `nftables`: rules in the pod capture.
 */
export const captureTiers = ['kernel-direct', 'kernel', 'nftables'] as const;
export type CaptureTier = (typeof captureTiers)[number];

/** What became of one thing that capture in the kernel builds on. */
export interface CaptureFeature {
  readonly name: string;
  /** `warn`: it works, and somebody should look at it. */
  readonly result: 'yes' | 'no' | 'warn';
  /** What was found, or why it does not work. */
  readonly seen: string;
}

interface Want {
  /** The tier that is not to be had without it; all others do without. */
  readonly tier?: CaptureTier;
  /** What is lost without it. */
  readonly loses: string;
  /** How to get it. */
  readonly how: string;
}

const hook = (since: string): Want => ({
  tier: 'kernel',
  loses: 'nftables captures',
  how: `boot Linux ${since} or later with CONFIG_CGROUP_BPF`,
});

const wants: Readonly<Record<string, Want>> = {
  cgroup2: {
    tier: 'kernel',
    loses: 'nftables captures',
    how: 'mount -t cgroup2 none /sys/fs/cgroup/unified, or boot with systemd.unified_cgroup_hierarchy=1',
  },
  capabilities: {
    tier: 'kernel',
    loses: 'nftables captures',
    how: 'run it as root with all capabilities (docker run --privileged)',
  },
  link_cgroup: hook('5.7'),
  link_netns: {
    tier: 'kernel',
    loses: 'nftables captures',
    how: 'boot Linux 5.9 or later with CONFIG_BPF_SYSCALL',
  },
  connect4: hook('4.17'),
  connect6: hook('4.17'),
  getpeername4: hook('5.8'),
  getpeername6: hook('5.8'),
  getsockname4: hook('5.8'),
  getsockname6: hook('5.8'),
  sendmsg4: hook('4.18'),
  sendmsg6: hook('4.18'),
  recvmsg4: hook('5.2'),
  recvmsg6: hook('5.2'),
  sockops: hook('4.13'),
  sock_release: hook('5.9'),
  netns_cookie: hook('5.15'),
  ringbuf: hook('5.8'),
  sk_lookup: {
    tier: 'kernel',
    loses: 'nftables captures',
    how: 'boot Linux 5.9 or later with CONFIG_BPF_STREAM_PARSER',
  },
  sock_destroy: {
    tier: 'kernel-direct',
    loses: 'pods of one node have tunnels: what policy comes to deny could not be ended',
    how: 'a kernel with CONFIG_INET_DIAG and CONFIG_INET_DIAG_DESTROY',
  },
  guard: {
    tier: 'kernel-direct',
    loses: 'pods of one node have tunnels: an address would not say who speaks',
    how: 'modprobe veth nf_tables; if a table weft_guard_2 is there that lets others pass: weft uninstall, and start the agent again',
  },
  set_retval: {
    loses: 'what policy denies fails with EPERM, not ECONNREFUSED',
    how: 'boot Linux 5.18 or later',
  },
  iter_tcp: {
    loses: 'connections that are open cannot be taken over by the sockmap tier',
    how: 'boot Linux 5.9 or later with CONFIG_DEBUG_INFO_BTF, and give CAP_PERFMON',
  },
  sk_msg: {
    loses: 'there is no sockmap tier',
    how: 'boot Linux 5.9 or later with CONFIG_BPF_STREAM_PARSER',
  },
  btf: {
    loses: 'programs that look into the kernel do not load',
    how: 'a kernel with CONFIG_DEBUG_INFO_BTF',
  },
  lockdown: {
    loses: 'programs that read the kernel, as those of the sockmap tier, do not load',
    how: 'boot without lockdown=confidentiality',
  },
  foreign_programs: {
    loses: 'both run, ours after or before: connections may be led elsewhere first',
    how: 'bpftool cgroup tree and bpftool net say more of them; they need not go',
  },
};

const unknown: Want = { loses: '', how: '' };

/** How to get a feature that is missing, and what is lost without it; for a person. */
export function adviceOn(name: string): Pick<Want, 'loses' | 'how'> {
  const { loses, how } = wants[name] ?? unknown;
  return { loses, how };
}

/** A tier, and for what reasons it is no better one. */
export interface TierChoice {
  readonly tier: CaptureTier;
  /** "NAME: what was seen", of those features that made the difference. */
  readonly reasons: readonly string[];
}

/** The best tier that these features allow. One that is not among them counts as missing. */
export function tierOf(features: readonly CaptureFeature[]): TierChoice {
  const found = new Map(features.map((feature) => [feature.name, feature]));
  const lacking = (tier: CaptureTier): string[] =>
    Object.entries(wants)
      .filter(([name, want]) => want.tier === tier && (found.get(name)?.result ?? 'no') === 'no')
      .map(([name]) => `${name}: ${found.get(name)?.seen ?? 'was not tried'}`);
  const forKernel = lacking('kernel');
  if (forKernel.length > 0) {
    return { tier: 'nftables', reasons: forKernel };
  }
  const forDirect = lacking('kernel-direct');
  return { tier: forDirect.length > 0 ? 'kernel' : 'kernel-direct', reasons: forDirect };
}
