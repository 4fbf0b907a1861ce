// SPDX-License-Identifier: Apache-2.0
// Direct connections while one engine takes a node over from another: each is told of once, and by
// the one that has the node, whose policy counts. Needs root.
process.env['WEFT_TEST_CAPTURE'] = 'ebpf';

import t, { type Test } from 'tap';
import { type ConnectionEvent, closeFd, Engine, Kind, openPath } from '../../../native/index.ts';
import { EventLog } from '../../support/event-log.ts';
import type { MeshPair } from '../../support/mesh-pair.ts';
import type { AppStream } from '../../support/pod-app.ts';

const { KernelCapture } = await import('../../support/kernel-capture.ts');
const { workloadOf } = await import('../../support/mesh-pair.ts');
const { denyPort, published, startNode } = await import('../../support/same-node.ts');

const port = 8080;
const deniedPort = 8081;
/** For connections that only look whether something is in force. */
const otherPort = 8099;

/** An engine that knows what the pair's knows, and has its pods with their listeners. */
async function startSuccessor(test: Test, pair: MeshPair, events: EventLog): Promise<Engine> {
  const { pins: bpfPins } = KernelCapture.one;
  const engine = new Engine({ workers: 2, bpfPins, takesOver: true }, events.add);
  test.teardown(() => engine.stop());
  engine.apply({
    workloads: [workloadOf('client'), workloadOf('server')],
    policies: [denyPort(deniedPort)],
    policiesReceived: true,
  });
  for (const { name: uid, netnsPath, spiffeId } of [pair.client, pair.server]) {
    engine.setIdentity(await pair.material(uid));
    const listeners = await pair.client.engine.listeners(uid);
    const netns = openPath(netnsPath);
    await engine.addPod({ uid, workloadUid: uid, spiffeId, netns, listeners });
    for (const fd of [netns, ...Object.values(listeners)]) {
      closeFd(fd);
    }
  }
  return engine;
}

/** Takes both ends' word of a connection from one log. */
async function told(events: EventLog, kind: Kind, near: AppStream): Promise<void> {
  const fits = (event: ConnectionEvent): boolean =>
    event.kind === kind && event.sourceAddress.endsWith(`:${near.local[1]}`);
  await events.take(fits);
  await events.take(fits);
}

await t.test('direct connections while a node is taken over', async (t) => {
  const pair = await startNode(t);
  const { clientPod, serverPod } = pair;
  const before = pair.client;
  await serverPod.app.listen(port);
  pair.apply({ policies: [denyPort(deniedPort)] });
  await published(pair, deniedPort, 'refused');
  await published(pair, otherPort, 'direct');
  const [kept, keptFar] = await pair.connect(port);
  await told(before.events, Kind.OPENED, kept);

  const after = new EventLog();
  const engine = await startSuccessor(t, pair, after);
  const [early, earlyFar] = await pair.connect(port);
  await told(before.events, Kind.OPENED, early);
  before.engine.releaseDirect();
  const past = before.events.kept.length;
  const [near, far] = await pair.connect(port);
  await near.end();
  await far.end();
  t.equal(await clientPod.app.failure(serverPod.ipv4, deniedPort), 'ECONNREFUSED');
  await early.end();
  await earlyFar.end();
  t.same(after.kept, [], 'a successor that waits hears nothing');

  engine.takeOver();
  await told(after, Kind.OPENED, near);
  await told(after, Kind.CLOSED, near);
  await told(after, Kind.CLOSED, early);
  await after.take(({ kind }) => kind === Kind.REFUSED);
  await after.take(({ kind }) => kind === Kind.REFUSED);

  // The other's word counts no more.
  before.engine.apply({ policies: [denyPort(port, 'demo/old')] });
  await kept.write('x');
  t.equal(await keptFar.read(1), 'x');
  const failure = keptFar.failure();
  engine.apply({ policies: [denyPort(port)] });
  t.match(await failure, /ECONNABORTED|ECONNRESET/, 'policy that turns ends what was open');
  await told(after, Kind.CLOSED, kept);
  t.equal(before.events.kept.length, past, 'nothing is told twice');
  t.same(after.kept, []);
});
