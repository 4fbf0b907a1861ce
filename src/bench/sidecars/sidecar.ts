// SPDX-License-Identifier: Apache-2.0
// Puts a sidecar into each pod of a variant: the same two nodes, the same link and the same pinning
// as the mesh that it is measured against.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { Lab } from '../../lab/lab.ts';
import { listens } from '../../lab/process-set.ts';
import { type LabProcess, removeCgroup, startProcess, tailOf } from '../../lab/processes.ts';
import { isAlive } from '../../lab/state.ts';
import { MeshError } from '../../lib/error.ts';
import {
  cgroupIn,
  type End,
  ends,
  podOf,
  type StartOptions,
  type Variant,
} from '../variants/variant.ts';
import { captureRules, type Exempt, sidecarPorts } from './capture.ts';
import { type SvidFiles, SvidFolder } from './svid-files.ts';

/** A program that can be a sidecar. */
export interface SidecarProgram {
  readonly exempt: Exempt;
  /** What its configuration is called, with the ending that it asks for. */
  readonly configName: string;
  /** The configuration of one sidecar. `peers` is what all SPIFFE IDs of the others begin with. */
  readonly config: (svid: SvidFiles, peers: string, options: StartOptions) => string;
  /** The command line, for a configuration that was written to a file. */
  readonly command: (configFile: string) => readonly string[];
}

const startTimeoutMs = 15_000;

/**
 * Waits until a process that was started listens. Throws MeshError `unavailable` with its last
 * words when it ends before, or takes over 15 s.
 */
export async function waitListening(started: LabProcess, port: number): Promise<void> {
  const until = Date.now() + startTimeoutMs;
  while (!listens(started.pid, [port])) {
    if (!isAlive(started) || Date.now() > until) {
      throw new MeshError('unavailable', `${started.name}: ${tailOf(started.logFile)}`);
    }
    await wait(20);
  }
}

/** The cgroup of the sidecar in one of the variant's pods. */
export function sidecarCgroup(lab: Lab, variant: Pick<Variant, 'name'>, end: End): string {
  return cgroupIn(lab, `sidecars/${podOf(variant, end)}`);
}

/** The folder of all certificates of a lab's sidecars. */
function svidFolderOf(lab: Lab): string {
  return join(lab.plan.names.folder, 'sidecars', 'svids');
}

async function startOne(
  lab: Lab,
  pod: string,
  cgroup: string,
  program: SidecarProgram,
  config: string,
): Promise<void> {
  const { folder } = lab.plan.names;
  const place = join(folder, 'sidecars', pod);
  mkdirSync(place, { recursive: true, mode: 0o700 });
  const file = join(place, program.configName);
  writeFileSync(file, config, { mode: 0o600 });
  await removeCgroup(cgroup);
  const started = await startProcess({
    name: `sidecars/${pod}`,
    netns: lab.pod(pod).netns,
    cgroup,
    command: program.command(file),
    logFile: join(folder, 'logs', `sidecar-${pod}.log`),
    folder: place,
  });
  await waitListening(started, sidecarPorts.outbound);
  await waitListening(started, sidecarPorts.inbound);
}

async function capture(lab: Lab, pod: string, exempt: Exempt): Promise<void> {
  const input = captureRules(exempt);
  const { code, stderr } = await lab.inPod(pod, ['nft', '-f', '-'], { input });
  if (code !== 0) {
    throw new MeshError('internal', `nft in ${pod}: ${stderr.trim()}`);
  }
}

/**
 * Starts a sidecar in each pod of a variant, in place of the one that runs, and captures the pod.
 * They end with the lab. Throws MeshError `unavailable` with a sidecar's last words.
 */
export async function startSidecars(
  lab: Lab,
  variant: Pick<Variant, 'name'>,
  program: SidecarProgram,
  options: StartOptions,
): Promise<void> {
  const svids = await SvidFolder.open(svidFolderOf(lab));
  for (const end of ends) {
    const pod = podOf(variant, end);
    const config = program.config(await svids.issue(pod), SvidFolder.idOf(''), options);
    await startOne(lab, pod, sidecarCgroup(lab, variant, end), program, config);
    await capture(lab, pod, program.exempt);
  }
}
