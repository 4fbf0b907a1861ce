// SPDX-License-Identifier: Apache-2.0
// Two pods that one engine carries, as on a node, and connections between them without it. Imported
// when WEFT_TEST_CAPTURE says that pods are captured in the kernel.
import type { Test } from 'tap';
import { PolicyAction, PolicyScope, type TablesDelta } from '../../native/index.ts';
import { mustRun } from '../../src/lib/program.ts';
import { KernelCapture } from './kernel-capture.ts';
import { countOf } from './kernel-counters.ts';
import { type BarePod, MeshPair, type PairOptions, spiffeId } from './mesh-pair.ts';

type Policy = TablesDelta['policies'][number];

/** One engine carries both pods, and their connections pass it by. */
export async function startNode(test: Test, options: PairOptions = {}): Promise<MeshPair> {
  const pair = await MeshPair.start(test, {
    engine: { sameNode: 'direct' },
    oneNode: true,
    ...options,
  });
  // As an agent does it. A connection whose peer went away keeps a namespace for minutes, and with it
  // the addresses.
  test.teardown(async () => {
    for (const { netnsPath } of [pair.clientPod, pair.serverPod]) {
      await KernelCapture.one.capture.giveWay(netnsPath);
    }
  });
  return pair;
}

/** Refuses that port to everybody. */
export function denyPort(port: number, key = 'demo/deny'): Policy {
  return {
    key,
    namespace: 'demo',
    scope: PolicyScope.SCOPE_NAMESPACE,
    action: PolicyAction.ACTION_DENY,
    rules: [{ clauses: [{ matches: [{ destinationPorts: [port] }] }] }],
  } as Policy;
}

/** Allows the client alone, by its identity. */
export function allowClient(): Policy {
  const value = spiffeId('client').replace('spiffe://', '');
  return {
    key: 'demo/allow',
    namespace: 'demo',
    scope: PolicyScope.SCOPE_NAMESPACE,
    action: PolicyAction.ACTION_ALLOW,
    rules: [{ clauses: [{ matches: [{ principals: [{ match: { case: 'exact', value } }] }] }] }],
  } as Policy;
}

/** Resolves when the kernel says so of the client's connections to a port of the server. */
export async function published(
  pair: MeshPair,
  port: number,
  verdict: 'direct' | 'refused',
): Promise<void> {
  const want = verdict === 'direct' ? 'direct_allowed' : 'direct_denied';
  for (const until = Date.now() + 5_000; Date.now() < until; ) {
    const before = countOf(want);
    await pair.clientPod.app.connectEach(pair.serverPod.ipv4, port, 1);
    if (countOf(want) > before) {
      return;
    }
  }
  throw new Error(`port ${port} is not ${verdict}`);
}

/** Runs a program in a pod, with `input`. */
export function run(pod: BarePod, command: readonly string[], input = ''): Promise<string> {
  const [file = '', ...args] = [...pod.inside, ...command];
  return mustRun(file, args, { input });
}
