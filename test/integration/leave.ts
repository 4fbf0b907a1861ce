// SPDX-License-Identifier: Apache-2.0
// A pod that leaves the mesh, and a node that does, are as they were before: rules, routes, settings,
// links. Needs root.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Lab } from '../../src/lab/lab.ts';
import { netnsPath } from '../../src/lab/netns.ts';
import type { PodPlan } from '../../src/lab/topology.ts';
import { commandOf } from '../../src/lib/node-processes.ts';
import { mustRun, runProgram } from '../../src/lib/program.ts';
import { eventually, skipLab, startLab } from '../support/trust-lab.ts';
import { askUnix } from '../support/unix-http.ts';

const views = {
  rules: ['ip', 'rule'],
  rules6: ['ip', '-6', 'rule'],
  routes: ['ip', 'route', 'show', 'table', 'all'],
  routes6: ['ip', '-6', 'route', 'show', 'table', 'all'],
  links: ['ip', '-d', 'link'],
  addresses: ['ip', 'addr'],
  nftables: ['nft', 'list', 'ruleset'],
  settings: ['sysctl', '-a', '--pattern', '^net\\.'],
} as const;
type Snapshot = Readonly<Record<keyof typeof views, string>>;

// What the kernel changes by itself: sizes, counts and times.
const moving = /conntrack_count|_mem =|ipfrag_secret|expires \d+sec/;

t.setTimeout(120_000);

function podFile(name: string, last: number, labels: string): string {
  return `apiVersion: v1
kind: Pod
metadata: { name: ${name}, namespace: demo${labels} }
spec: { nodeName: node-a, serviceAccountName: client, containers: [{ command: [sleep, infinity] }] }
status: { podIPs: [{ ip: 10.77.1.${last} }, { ip: "fd77:0:0:1::${last}" }] }
`;
}

async function snapshotOf(netns: string): Promise<Snapshot> {
  const entries = Object.entries(views).map(async ([name, command]) => {
    const text = await mustRun('nsenter', [`--net=${netnsPath(netns)}`, '--', ...command]);
    return [
      name,
      text
        .split('\n')
        .filter((line) => !moving.test(line))
        .join('\n'),
    ] as const;
  });
  return Object.fromEntries(await Promise.all(entries)) as Record<keyof typeof views, string>;
}

/** Adds a pod to the lab that is not in the mesh, and lets the mesh know that it may be. */
async function addPod(lab: Lab, name: string, last: number): Promise<[PodPlan, Snapshot]> {
  const file = `${name}.yaml`;
  await lab.writeMesh(file, podFile(name, last, ', labels: {istio.io/dataplane-mode: none}'));
  await lab.addNewPods();
  const pod = lab.pod(name);
  const inPod = ['-n', pod.netns, '-6', 'addr', 'show', 'tentative'];
  await eventually('its addresses are its own', 5_000, async () => {
    return (await mustRun('ip', inPod)) === '';
  });
  const before = await snapshotOf(pod.netns);
  await lab.writeMesh(file, podFile(name, last, ''));
  return [pod, before];
}

async function enrol(t: Test, lab: Lab, pod: PodPlan, capture: 'ebpf' | 'nft'): Promise<void> {
  await eventually(`${pod.name} is placed`, 10_000, () =>
    lab.enrol({ ...pod, settings: { capture } }).then(
      () => true,
      () => false,
    ),
  );
  const { stdout } = await lab.inPod(pod.name, ['curl', '-s', '-m', '5', 'http://10.77.240.10/']);
  t.match(stdout, /weft lab/, 'it uses the mesh');
}

t.test('what leaves is as it was before it came', { skip: skipLab }, async (t) => {
  const lab = await startLab(t);
  const api = lab.api('node-a');
  const pins = join(api, '../bpf');
  const pinned = (): string[] => readdirSync(pins, { recursive: true }).map(String).sort();
  const [pod, before] = await addPod(lab, 'late', 30);

  for (const capture of ['ebpf', 'nft'] as const) {
    await t.test(`a pod that is captured by ${capture} and taken out again`, async (t) => {
      const kept = pinned();
      await enrol(t, lab, pod, capture);
      t.equal(pinned().length > kept.length, capture === 'ebpf', 'programs in the kernel');
      const meanwhile = await snapshotOf(pod.netns);
      t.not(meanwhile.rules, before.rules);
      t.not(meanwhile.settings, before.settings);
      const { status } = await askUnix(api, 'DELETE', `/pods/${encodeURIComponent(pod.uid)}`);
      t.equal(status, 200);
      t.same(await snapshotOf(pod.netns), before);
      t.same(pinned(), kept);
    });
  }

  await t.test('what somebody else has set meanwhile stays', async (t) => {
    await mustRun('ip', ['netns', 'exec', pod.netns, 'sysctl', '-qw', 'net.ipv4.fwmark_reflect=1']);
    await enrol(t, lab, pod, 'ebpf');
    await askUnix(api, 'DELETE', `/pods/${encodeURIComponent(pod.uid)}`);
    t.match((await snapshotOf(pod.netns)).settings, /net\.ipv4\.fwmark_reflect = 1/);
    await mustRun('ip', ['netns', 'exec', pod.netns, 'sysctl', '-qw', 'net.ipv4.fwmark_reflect=0']);
    t.same(await snapshotOf(pod.netns), before);
  });

  await t.test('a node that is taken out with pods that go on', async (t) => {
    const [other, otherBefore] = await addPod(lab, 'later', 31);
    const [gone] = await addPod(lab, 'gone', 32);
    const { netns } = lab.node('node-a');
    await enrol(t, lab, pod, 'ebpf');
    await enrol(t, lab, other, 'nft');
    await enrol(t, lab, gone, 'ebpf');
    const command = commandOf('uninstall', ['--bpf-pins', pins, '--api', api]);
    const uninstall = () => lab.onNode('node-a', command, { timeoutMs: 60_000 });
    const refused = await uninstall();
    t.equal(refused.code, 1);
    t.match(refused.stderr, /stop it first/);
    await lab.kill('node-a/cni');
    await lab.kill('node-a/ztunnel');
    await runProgram('ip', ['netns', 'del', gone.netns]);
    const { code, stdout, stderr } = await uninstall();
    t.equal(code, 0, stderr);
    t.match(stdout, /^the pod demo\/gone is gone$/m);
    t.match(stdout, /^nothing is left in the pod demo\/later$/m);
    t.same(await snapshotOf(pod.netns), before);
    t.same(await snapshotOf(other.netns), otherBefore);
    t.notMatch((await snapshotOf(netns)).nftables, /weft/);
    t.notMatch((await snapshotOf(netns)).links, /weftg/);
    t.same(existsSync(pins) ? readdirSync(pins) : [], []);
    t.notOk(existsSync(join(api, '../pods.json')), 'the next agent begins anew');
    const again = await uninstall();
    t.equal(again.code, 0, again.stderr);
    t.notMatch(again.stdout, /in the pod/);
  });
});
