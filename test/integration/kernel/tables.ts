// SPDX-License-Identifier: Apache-2.0
// Tables of one pod: what failed takes no room in them, and one that is full is no other pod's
// business. Needs root.
process.env['WEFT_TEST_CAPTURE'] = 'ebpf';

import t from 'tap';
import type { PodApp } from '../../support/pod-app.ts';

const { KernelCapture } = await import('../../support/kernel-capture.ts');
const { counterSteps } = await import('../../support/kernel-counters.ts');
const { MeshPair } = await import('../../support/mesh-pair.ts');
const { published, run, startNode } = await import('../../support/same-node.ts');
const { addStranger } = await import('../../support/stranger.ts');

const port = 8080;
const closedPort = 8099;
/**
 * More than WEFT_ENTRIES_MAX, over several ports: towards one the kernel has some 14,000 source ports
 * before it takes one again.
 */
const tries = 6_000;
const ports = [8091, 8092, 8093, 8094, 8095];
const tooMany = tries * ports.length;

/** More than that, and fewer than a process may have open. */
const keptOpen = 17_000;

async function connectTooOften({ app }: { app: PodApp }, host: string): Promise<void> {
  for (const each of ports) {
    await app.connectEach(host, each, tries);
  }
}

t.setTimeout(100_000);

await t.test('connections that fail take no room', async (t) => {
  const pair = await startNode(t);
  const { clientPod, serverPod } = pair;
  await published(pair, closedPort, 'direct');

  await t.test('those between pods, to a port where nobody listens', async (t) => {
    const steps = counterSteps();
    await connectTooOften(clientPod, serverPod.ipv4);
    const seen = steps();
    t.match(seen, { direct_allowed: tooMany });
    t.equal(seen['direct_lost'], undefined);
  });

  await t.test('those of a pod to itself', async (t) => {
    const steps = counterSteps();
    await connectTooOften(clientPod, clientPod.ipv4);
    const seen = steps();
    t.ok((seen['pass_published'] ?? 0) >= tooMany);
    t.equal(seen['pass_lost'], undefined);
  });

  await t.test('those that no proxy takes', async (t) => {
    const stranger = await addStranger(t, serverPod);
    await KernelCapture.one.capture.install(stranger.netnsPath);
    const steps = counterSteps();
    await connectTooOften(stranger, serverPod.ipv4);
    const seen = steps();
    t.match(seen, { outbound_captured: tooMany });
    t.equal(seen['outbound_lost_origin'], undefined);
  });
});

await t.test('a pod that fills its table disturbs no other', async (t) => {
  const pair = await MeshPair.start(t);
  const stranger = await addStranger(t, pair.server);
  await KernelCapture.one.capture.install(stranger.netnsPath);
  await run({ ...pair.server, inside: ['nsenter', `--net=${stranger.netnsPath}`, '--'] }, [
    'sysctl',
    '-qw',
    'net.core.somaxconn=20000',
    'net.ipv4.tcp_max_syn_backlog=20000',
  ]);
  // Where the proxy would listen, and take them.
  await stranger.app.listen(15001, { backlog: 20_000 });
  const steps = counterSteps();
  await stranger.app.connectEach(pair.server.ipv4, port, keptOpen, true);
  const seen = steps();
  t.match(seen, { outbound_captured: keptOpen });
  t.ok((seen['outbound_lost_origin'] ?? 0) > 0, 'its table is full');
  await pair.server.app.listen(port);
  for (let n = 0; n < 20; n++) {
    const [near, far] = await pair.connect(port);
    await near.write('x');
    t.equal(await far.read(1), 'x');
  }
  t.equal(steps()['outbound_lost_origin'], undefined);
});
