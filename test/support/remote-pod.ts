// SPDX-License-Identifier: Apache-2.0
// A pod of another node, beside a pair: with a link of its own to the client's pod, and an engine of
// its own, whose pod is captured by netfilter.
import type { Test } from 'tap';
import { closeFd, Engine, openPath } from '../../native/index.ts';
import { NftCapture } from '../../src/cni/capture-nft.ts';
import { mustRun } from '../../src/lib/program.ts';
import type { MeshPair, MeshPod } from './mesh-pair.ts';
import { makeNetNamespace } from './net-namespace.ts';

/** A new namespace that the client reaches at 10.9.0.`last` and fd09::`last`; where it is. */
export async function joinRemote(test: Test, client: MeshPod, last: number): Promise<string> {
  const namespace = await makeNetNamespace();
  test.teardown(() => namespace.close());
  const batch = (path: string, lines: readonly string[]): Promise<string> =>
    mustRun('nsenter', [`--net=${path}`, '--', 'ip', '-batch', '-'], { input: lines.join('\n') });
  const [near, far] = [`02:00:00:00:01:${last}`, `02:00:00:00:02:${last}`];
  const peer = `peer name eth0 address ${far} netns ${namespace.path}`;
  await batch(client.netnsPath, [
    `link add eth${last} address ${near} type veth ${peer}`,
    `link set eth${last} up`,
    `route add 10.9.0.${last}/32 dev eth${last} src ${client.ipv4}`,
    `route add fd09::${last}/128 dev eth${last} src ${client.ipv6}`,
    `neighbour add 10.9.0.${last} lladdr ${far} dev eth${last}`,
    `neighbour add fd09::${last} lladdr ${far} dev eth${last}`,
  ]);
  await batch(namespace.path, [
    'link set lo up',
    `address add 10.9.0.${last}/24 dev eth0`,
    `address add fd09::${last}/64 dev eth0 nodad`,
    'link set eth0 up',
    `neighbour add ${client.ipv4} lladdr ${near} dev eth0`,
    `neighbour add ${client.ipv6} lladdr ${near} dev eth0`,
  ]);
  return namespace.path;
}

/** Puts a pod that `joinRemote` made into the mesh; its engine knows of no workload yet. */
export async function enrolRemote(
  test: Test,
  pair: MeshPair,
  name: string,
  netnsPath: string,
): Promise<Engine> {
  const engine = new Engine({ workers: 1 }, () => {});
  test.teardown(() => engine.stop());
  const material = await pair.material(name);
  const { spiffeId } = material;
  engine.setIdentity(material);
  await new NftCapture().install(netnsPath);
  const netns = openPath(netnsPath);
  await engine.addPod({ uid: name, workloadUid: name, spiffeId, netns });
  closeFd(netns);
  engine.apply({ policiesReceived: true });
  return engine;
}
