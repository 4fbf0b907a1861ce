// SPDX-License-Identifier: Apache-2.0
// What this machine lets capture in the kernel do, each thing by itself, and which way of capture
// follows.
import { readFileSync } from 'node:fs';
import type { LoadedPart } from '../../native/capture.ts';
import { foreignPrograms, tryFeatures } from '../../native/kernel-probe.ts';
import { type CaptureFeature, type TierChoice, tierOf } from '../lib/capture-tier.ts';
import { MeshError } from '../lib/error.ts';
import {
  type CgroupMounts,
  cgroupMountsOf,
  lockdownOf,
  missingCapabilities,
} from '../lib/kernel-state.ts';
import { refusalOf } from '../lib/verifier-text.ts';

/** What was found, and what follows from it. */
export interface CaptureProbe extends TierChoice {
  readonly features: readonly CaptureFeature[];
}

const lockdownFile = '/sys/kernel/security/lockdown';

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function cgroupFeature({ mode, root }: CgroupMounts): CaptureFeature {
  const name = 'cgroup2';
  return root === undefined
    ? { name, result: 'no', seen: `cgroup v2 is not mounted (${mode})` }
    : { name, result: 'yes', seen: `${root} (${mode})` };
}

function capabilityFeature(): CaptureFeature {
  const missing = missingCapabilities(readText('/proc/self/status'));
  const name = 'capabilities';
  if (missing.length === 0) {
    return { name, result: 'yes', seen: 'all' };
  }
  const names = missing.map(({ name: each, purpose }) => `${each} (to ${purpose})`).join(', ');
  const isCovered = missing.every((each) => each.isCovered);
  return isCovered
    ? { name, result: 'yes', seen: `CAP_SYS_ADMIN serves for what is missing: ${names}` }
    : { name, result: 'no', seen: `missing: ${names}` };
}

function lockdownFeature(): CaptureFeature {
  const text = readText(lockdownFile);
  const how = lockdownOf(text);
  const seen = text === '' ? 'not in this kernel, or not to be seen' : how;
  return { name: 'lockdown', result: how === 'confidentiality' ? 'warn' : 'yes', seen };
}

function foreignFeature(cgroup: string | undefined): CaptureFeature {
  const name = 'foreign_programs';
  if (cgroup === undefined) {
    return { name, result: 'warn', seen: 'there is no cgroup v2 to look at' };
  }
  try {
    const found = foreignPrograms(cgroup).map(({ name: own, hook, place }) => {
      return `${own || 'one without a name'} at ${hook} of ${place}`;
    });
    return found.length === 0
      ? { name, result: 'yes', seen: 'none on the hooks of capture' }
      : { name, result: 'warn', seen: found.join(', ') };
  } catch (error) {
    return { name, result: 'warn', seen: MeshError.from(error).message };
  }
}

async function triedFeatures(root: string | undefined): Promise<CaptureFeature[]> {
  const tried = await tryFeatures(root);
  return tried.map(({ name, works, reason }) => {
    return works ? { name, result: 'yes', seen: 'works' } : { name, result: 'no', seen: reason };
  });
}

/**
 * Looks at this machine and tries what capture builds on; nothing is left behind. `podsCgroup` is
 * above all pods, the root when it is not given. `guard` says whether addresses of pods can be kept
 * from others. Needs root. Never throws: what could not be tried counts as missing.
 */
export async function probeCapture(
  podsCgroup: string | undefined,
  guard: Promise<CaptureFeature>,
): Promise<CaptureProbe> {
  const mounts = cgroupMountsOf(readText('/proc/mounts'));
  const seen = [cgroupFeature(mounts), capabilityFeature(), lockdownFeature()];
  const looked = [...seen, foreignFeature(podsCgroup ?? mounts.root)];
  const [guarded, tried] = await Promise.allSettled([guard, triedFeatures(mounts.root)]);
  if (guarded.status === 'fulfilled') {
    looked.push(guarded.value);
  }
  if (tried.status === 'rejected') {
    const why = MeshError.from(tried.reason).message.split('\n')[0] ?? '';
    return { features: looked, tier: 'nftables', reasons: [`nothing could be tried: ${why}`] };
  }
  const features = [...looked, ...tried.value];
  return { features, ...tierOf(features) };
}

/** The same when programs are loaded, and some of them may have been refused. */
export function withParts(found: CaptureProbe, parts: readonly LoadedPart[]): CaptureProbe {
  const loaded = parts.map(({ name, works, reason }): CaptureFeature => {
    return works
      ? { name, result: 'yes', seen: 'loaded' }
      : { name, result: 'no', seen: refusalOf(reason) };
  });
  const features = [...found.features, ...loaded];
  return { features, ...tierOf(features) };
}
