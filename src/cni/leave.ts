// SPDX-License-Identifier: Apache-2.0
// Takes out of pods what an agent that does not run any more left in them.
import { rmSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { MeshError } from '../lib/error.ts';
import { removeRules } from './capture-nft.ts';
import { checkPodNetns, isGone } from './netns.ts';
import type { ListedPod } from './pod.ts';
import { loadPods } from './pod-file.ts';
import { removeReturnRoutes } from './pod-routes.ts';

/** How many pods are looked at side by side: each takes a dozen small programs. */
const atOnce = 8;

/** What became of a pod that was on the agent's list. */
export interface LeftPod {
  readonly uid: string;
  /** `gone`: its namespace is, and all that was in it. */
  readonly became: 'cleared' | 'gone';
}

/** The files that an agent whose API is at `api` keeps beside it. */
export function agentFiles(api: string): { readonly pods: string; readonly mesh: string } {
  const folder = dirname(api);
  return { pods: join(folder, 'pods.json'), mesh: join(folder, 'mesh.json') };
}

async function isServed(api: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect(api);
    socket.on('connect', () => resolve(true));
    socket.on('error', () => resolve(false));
    socket.on('close', () => resolve(false));
    socket.unref().on('connect', () => socket.destroy());
  });
}

/** Rejects with MeshError `conflict` while an agent serves at `api`. */
export async function checkStopped(api: string): Promise<void> {
  if (await isServed(api)) {
    throw new MeshError('conflict', `an agent serves at ${api}: stop it first`);
  }
}

// A pod may go at any moment: what fails in one that is gone then is no failure.
async function clear({ uid, netns, former }: ListedPod): Promise<LeftPod> {
  try {
    if (!isGone(netns)) {
      await checkPodNetns(netns);
      await removeRules(netns);
      await removeReturnRoutes(netns, former);
      return { uid, became: 'cleared' };
    }
  } catch (error) {
    const isReplaced = MeshError.from(error).code === 'invalid';
    if (!isGone(netns) && !isReplaced) {
      throw error;
    }
  }
  return { uid, became: 'gone' };
}

/**
 * Takes rules, routes and settings out of the pods on the list of the agent whose API was at `api`,
 * and then its files away: it would capture those pods again. Programs in the kernel are another's to
 * take away, before. Idempotent. Throws MeshError `conflict` while that agent runs; the list stays
 * when anything in a pod that is there cannot be taken away.
 */
export async function leavePods(api: string): Promise<LeftPod[]> {
  await checkStopped(api);
  const files = agentFiles(api);
  const left: LeftPod[] = [];
  const pods = loadPods(files.pods);
  for (let at = 0; at < pods.length; at += atOnce) {
    left.push(...(await Promise.all(pods.slice(at, at + atOnce).map(clear))));
  }
  for (const file of Object.values(files)) {
    rmSync(file, { force: true });
  }
  return left;
}
