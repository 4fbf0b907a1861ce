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
  /** Known only when programs are loaded: until then it is not missed. */
  readonly isLate?: true;
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

const takes = 'another kernel, or another build of Weft: the log has what the verifier said';

/** Programs that capture can do without, each loaded by itself: what the kernel makes of them. */
const late = {
  direct: {
    tier: 'kernel-direct',
    isLate: true,
    loses: 'pods of one node have tunnels between them, too',
    how: takes,
  },
  services: {
    isLate: true,
    loses: 'connections to services have tunnels, also where an endpoint is on this node',
    how: takes,
  },
  dns: {
    isLate: true,
    loses: 'questions by UDP go to the resolvers of pods, which know no names of the mesh',
    how: takes,
  },
  own_name: {
    isLate: true,
    loses: 'captured applications are told a loopback address as their own',
    how: takes,
  },
} as const satisfies Readonly<Record<string, Want>>;
type LatePart = keyof typeof late;

/** The hooks of a part that capture can do without, by what it is called when it is loaded. */
const hookOf = (part: LatePart, since: string): Want => ({
  loses: late[part].loses,
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
  getsockname4: hookOf('own_name', '5.8'),
  getsockname6: hookOf('own_name', '5.8'),
  sendmsg4: hookOf('dns', '4.18'),
  sendmsg6: hookOf('dns', '4.18'),
  recvmsg4: hookOf('dns', '5.2'),
  recvmsg6: hookOf('dns', '5.2'),
  sockops: hook('4.13'),
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
  sock_release: {
    tier: 'kernel-direct',
    loses: 'pods of one node have tunnels: sockets that fail to connect would keep their slots',
    how: 'boot Linux 5.9 or later with CONFIG_CGROUP_BPF',
  },
  guard: {
    tier: 'kernel-direct',
    loses: 'pods of one node have tunnels: an address would not say who speaks',
    how: 'modprobe veth nf_tables; if a table weft_guard_2 is there that lets others pass: weft uninstall, and start the agent again',
  },
  ...late,
  set_retval: {
    loses: 'what policy denies fails with EPERM, not ECONNREFUSED',
    how: 'boot Linux 5.18 or later',
  },
  iter_tcp: {
    loses: 'connections that are open cannot be taken over by the sockmap tier',
    how: 'boot Linux 5.9 or later with CONFIG_DEBUG_INFO_BTF, and give CAP_PERFMON',
  },
  iter_sockmap: {
    loses:
      'when the agent is replaced by one with other tables, connections to captured pods are refused until their proxy is replaced, too',
    how: 'boot Linux 5.10 or later with CONFIG_DEBUG_INFO_BTF, and give CAP_PERFMON',
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

/** Hooks without which a part is not even tried. */
const hooksOf: Readonly<Record<string, readonly string[]>> = {
  direct: ['sock_release'],
  dns: ['sendmsg4', 'sendmsg6', 'recvmsg4', 'recvmsg6'],
  own_name: ['getsockname4', 'getsockname6'],
};

/** The parts whose hooks do not work here. */
export function partsWithoutHooks(features: readonly CaptureFeature[]): string[] {
  const missing = features.filter(({ result }) => result === 'no').map(({ name }) => name);
  return Object.entries(hooksOf)
    .filter(([, hooks]) => hooks.some((each) => missing.includes(each)))
    .map(([part]) => part);
}

/**
 * What a node that is captured in the kernel lacks of what capture can do without, as "NAME: what
 * was seen".
 */
export function lostOf(features: readonly CaptureFeature[]): string[] {
  return features
    .filter(({ name, result }) => name in late && result === 'no')
    .map(({ name, seen }) => `${name}: ${seen}`);
}

/**
 * The best tier that these features allow. One that is not among them counts as missing, unless it
 * is known only when programs are loaded.
 */
export function tierOf(features: readonly CaptureFeature[]): TierChoice {
  const found = new Map(features.map((feature) => [feature.name, feature]));
  const isMissing = (name: string, { isLate }: Want): boolean =>
    (found.get(name)?.result ?? (isLate === true ? 'yes' : 'no')) === 'no';
  const lacking = (tier: CaptureTier): string[] =>
    Object.entries(wants)
      .filter(([name, want]) => want.tier === tier && isMissing(name, want))
      .map(([name]) => `${name}: ${found.get(name)?.seen ?? 'was not tried'}`);
  const forKernel = lacking('kernel');
  if (forKernel.length > 0) {
    return { tier: 'nftables', reasons: forKernel };
  }
  const forDirect = lacking('kernel-direct');
  return { tier: forDirect.length > 0 ? 'kernel' : 'kernel-direct', reasons: forDirect };
}
