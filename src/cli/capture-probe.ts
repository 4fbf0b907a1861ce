// SPDX-License-Identifier: Apache-2.0
// Whether this kernel takes our programs, tried for real: in a cgroup, a network namespace and a BPF
// file system that are thrown away again.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LoadedPart } from '../../native/capture.ts';
import { type CaptureProbe, probeCapture } from '../cni/capture-probe.ts';
import { checkGuard, guardFeature } from '../cni/guard-probe.ts';
import { MeshError } from '../lib/error.ts';
import { type Capability, cgroup2RootOf } from '../lib/machine.ts';

const wanted = {
  name: 'capture in the kernel',
  required: false,
  how: 'Linux 5.14 or later with CONFIG_CGROUP_BPF and CONFIG_BPF_STREAM_PARSER, cgroup v2, CAP_BPF and CAP_NET_ADMIN; without it nftables captures, and pods of one node have tunnels',
} as const;

/** Addresses that nobody has (RFC 5737, RFC 3849). */
const nowhere = ['192.0.2.1', '2001:db8::1'] as const;

/** Of the process, in the hierarchy of version 2; the root's is "/". */
function ownCgroup(root: string): string {
  const line = readFileSync('/proc/self/cgroup', 'utf8')
    .split('\n')
    .find((each) => each.startsWith('0::'));
  return join(root, line?.slice(3) ?? '/');
}

async function inNewNetns<T>(work: (path: string) => T | Promise<T>): Promise<T> {
  const child = spawn('unshare', ['--net', 'sh', '-c', 'ip link set lo up; echo; exec cat'], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  try {
    const first = await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
    if (!Buffer.isBuffer(first[0])) {
      throw new MeshError('unsupported', 'a network namespace cannot be made');
    }
    return await work(`/proc/${child.pid}/ns/net`);
  } finally {
    child.kill('SIGKILL');
  }
}

/** What became of the programs: of those that capture does without, and how many connects were captured. */
interface TriedCapture {
  readonly parts: readonly LoadedPart[];
  readonly captured: number;
}

// Nobody accepts: whether a connect was captured is what the program counted.
async function tryCapture(root: string, top: string, pins: string): Promise<TriedCapture> {
  const { NodeCapture } = await import('../../native/capture.ts');
  const native = await import('../../native/index.ts');
  const { podSocket } = await import('../../native/pod-socket.ts');
  const proxyCgroup = join(top, 'proxy');
  const before = ownCgroup(root);
  const node = new NodeCapture({ pins, cgroup: top, proxyCgroup });
  return await inNewNetns((path) => {
    const netns = native.openPath(path);
    try {
      node.enrol(netns, ['192.0.2.2', '2001:db8::2'], false);
      writeFileSync(join(top, 'cgroup.procs'), String(process.pid));
      for (const address of nowhere) {
        native.closeFd(podSocket('connect', { netns, address, port: 80, mark: 0 }));
      }
      return { parts: node.parts(), captured: node.counters()['outbound_captured'] ?? 0 };
    } finally {
      writeFileSync(join(before, 'cgroup.procs'), String(process.pid));
      native.closeFd(netns);
    }
  });
}

async function removeAll(top: string, pins: string): Promise<void> {
  const { NodeCapture } = await import('../../native/capture.ts');
  NodeCapture.uninstall(pins);
  rmdirSync(join(top, 'proxy'));
  rmdirSync(top);
}

/**
 * Tries each thing that it builds on by itself, the guard of addresses in the network namespace of
 * this process. Leaves nothing behind. Needs root.
 */
export async function probeFeatures(): Promise<CaptureProbe> {
  return await probeCapture(undefined, guardFeature(checkGuard()));
}

/** Capture as a whole, and what the kernel made of what that can do without: nothing if it was not tried. */
export interface ProbedCapture {
  readonly row: Capability;
  readonly parts: readonly LoadedPart[];
}

/** Probes it as a whole. Leaves nothing behind. Needs root. */
export async function probeKernelCapture(): Promise<ProbedCapture> {
  const root = cgroup2RootOf(readFileSync('/proc/mounts', 'utf8'));
  if (root === undefined) {
    return { row: { ...wanted, ok: false, seen: 'cgroup v2 is not mounted' }, parts: [] };
  }
  const top = join(root, `weft-probe-${process.pid}`);
  const pins = mkdtempSync(join(tmpdir(), 'weft-probe-'));
  try {
    mkdirSync(join(top, 'proxy'), { recursive: true });
    try {
      const { parts, captured } = await tryCapture(root, top, pins);
      const ok = captured === nowhere.length;
      const seen = `programs load; ${captured} of ${nowhere.length} connects are captured`;
      return { row: { ...wanted, ok, seen }, parts };
    } finally {
      await removeAll(top, pins);
    }
  } catch (error) {
    const [seen = ''] = MeshError.from(error).message.split('\n');
    return { row: { ...wanted, ok: false, seen }, parts: [] };
  }
}
