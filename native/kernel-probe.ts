// SPDX-License-Identifier: Apache-2.0
// What this kernel lets programs of ours do, each thing tried by itself.
import { readdirSync, rmdirSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { MeshError } from '../src/lib/error.ts';
import { mustRun } from '../src/lib/program.ts';

/** One thing that was tried. */
export interface TriedFeature {
  readonly name: string;
  readonly works: boolean;
  /** Why not, in a line; empty when it works. */
  readonly reason: string;
}

/** A program of somebody else's, on a hook that ours are attached to. */
export interface ForeignProgram {
  /** As the kernel knows it: at most 15 characters, or none. */
  readonly name: string;
  readonly hook: string;
  /** A cgroup's folder, or that it is the network namespace. */
  readonly place: string;
}

interface Addon {
  probeKernel(cgroup: string): TriedFeature[];
  foreignPrograms(cgroup: string): ForeignProgram[];
}

const load: NodeJS.Require = createRequire(import.meta.url);
const addonPath = '../build/Release/weft.node';
const prefix = 'weft-probe-';
const timeoutMs = 30_000;
/** No probe takes so long: what is older was left by one that was killed. */
const staleMs = 60_000;

// A process of its own: it goes to the scratch cgroup as a whole, and whatever a kernel does to it
// ends with it.
const program =
  'process.stdout.write(JSON.stringify(require(process.argv[1]).probeKernel(process.argv[2])))';

function removeFolder(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // Somebody is in it, or it was never made.
  }
}

function removeStale(root: string): void {
  for (const name of readdirSync(root)) {
    const folder = join(root, name);
    const found = name.startsWith(prefix) ? statSync(folder, { throwIfNoEntry: false }) : undefined;
    if (found !== undefined && Date.now() - found.mtimeMs > staleMs) {
      removeFolder(folder);
    }
  }
}

async function tryIn(cgroup: string): Promise<TriedFeature[]> {
  const args = ['--input-type=commonjs', '-e', program, load.resolve(addonPath), cgroup];
  const printed = await mustRun(process.execPath, args, { timeoutMs });
  const features = JSON.parse(printed) as TriedFeature[];
  return features.map(({ reason, ...rest }) => ({ ...rest, reason: reason.split('\n')[0] ?? '' }));
}

/**
 * Tries each thing that capture in the kernel builds on, in a network namespace and a cgroup below
 * `cgroupRoot` that are gone afterwards; without a root what needs a cgroup does not work. Takes a
 * quarter of a second. Needs root. Rejects with MeshError when it cannot be tried at all.
 */
export async function tryFeatures(cgroupRoot: string | undefined): Promise<TriedFeature[]> {
  if (cgroupRoot === undefined) {
    return await tryIn('');
  }
  removeStale(cgroupRoot);
  const cgroup = join(cgroupRoot, `${prefix}${process.pid}-${performance.now()}`);
  try {
    return await tryIn(cgroup);
  } finally {
    removeFolder(cgroup);
  }
}

/**
 * Programs of others on the hooks of capture: at the cgroup, at each one above it, and at this
 * network namespace. Throws MeshError when the kernel does not tell.
 */
export function foreignPrograms(cgroup: string): ForeignProgram[] {
  try {
    return (load(addonPath) as Addon).foreignPrograms(cgroup);
  } catch (error) {
    throw MeshError.from(error);
  }
}
