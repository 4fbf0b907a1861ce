// SPDX-License-Identifier: Apache-2.0
// Puts an Envoy sidecar into two pods of a lab: the same two nodes, the same link and the same
// pinning as the mesh that it is measured against.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { Lab } from '../lab/lab.ts';
import { listens } from '../lab/process-set.ts';
import { type LabProcess, startProcess, tailOf } from '../lab/processes.ts';
import { isAlive } from '../lab/state.ts';
import { MeshError } from '../lib/error.ts';
import { captureRules, clientSidecar, serverSidecar, sidecarPorts } from './envoy-config.ts';
import { type SvidFiles, SvidFolder } from './svid-files.ts';

/** How a pair is set up. */
export interface EnvoyPairOptions {
  readonly program: string;
  /** Names of the pods that get a sidecar; neither is in the mesh. */
  readonly client: string;
  readonly server: string;
  /** Whether TLS sessions are resumed; else each connection is a full handshake. */
  readonly resume: boolean;
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
    await wait(50);
  }
}

async function sidecar(
  lab: Lab,
  program: string,
  pod: string,
  port: number,
  config: string,
): Promise<LabProcess> {
  const { names } = lab.plan;
  const folder = join(names.folder, 'envoy');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const file = join(folder, `${pod}.json`);
  writeFileSync(file, config);
  const options = ['--concurrency', '1', '--disable-hot-restart', '--log-level', 'warning'];
  const started = await startProcess({
    name: `envoy/${pod}`,
    netns: lab.pod(pod).netns,
    cgroup: cgroupOf(lab, pod),
    command: [program, '--config-path', file, ...options],
    logFile: join(names.folder, 'logs', `envoy-${pod}.log`),
    folder,
  });
  await waitListening(started, port);
  return started;
}

/** The cgroup of a pod's sidecar. */
export function cgroupOf(lab: Lab, pod: string): string {
  return join(lab.plan.names.cgroup, 'envoy', pod);
}

/**
 * Starts both sidecars and captures both pods; they end with the lab. Resolves when both listen.
 * Throws MeshError `unavailable` with Envoy's last words when one does not start.
 */
export async function startEnvoyPair(lab: Lab, options: EnvoyPairOptions): Promise<LabProcess[]> {
  const { program, client, server, resume } = options;
  const svids = await SvidFolder.create(join(lab.plan.names.folder, 'envoy', 'svids'));
  const identity = (files: SvidFiles, peer: string) => ({ ...files, peer: SvidFolder.idOf(peer) });
  const near = identity(await svids.issue(client), server);
  const far = identity(await svids.issue(server), client);
  const ends = [
    await sidecar(lab, program, client, sidecarPorts.outbound, clientSidecar(near, resume)),
    await sidecar(lab, program, server, sidecarPorts.inbound, serverSidecar(far, resume)),
  ];
  for (const [pod, end] of [
    [client, 'client'],
    [server, 'server'],
  ] as const) {
    const { code, stderr } = await lab.inPod(pod, ['nft', '-f', '-'], { input: captureRules(end) });
    if (code !== 0) {
      throw new MeshError('internal', `nft in ${pod}: ${stderr.trim()}`);
    }
  }
  return ends;
}
