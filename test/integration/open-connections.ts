// SPDX-License-Identifier: Apache-2.0
// What a change of policy, of certificates or of pods does to connections that are open, and to new
// ones. Needs root.
import { dirname } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import t, { type Test } from 'tap';
import {
  type ConnectionEvent,
  Kind,
  PolicyAction,
  PolicyScope,
  Reason,
} from '../../native/index.ts';
import { MeshPair, type MeshPod, type PairOptions } from '../support/mesh-pair.ts';
import type { AppStream } from '../support/pod-app.ts';
import { TestCa } from '../support/test-ca.ts';

const closed = (event: ConnectionEvent): boolean => event.kind === Kind.CLOSED;
const refused = (event: ConnectionEvent): boolean => event.kind === Kind.REFUSED;

async function startPair(t: Test, options: PairOptions = {}): Promise<MeshPair> {
  const pair = await MeshPair.start(t, options);
  await pair.serverPod.app.listen(8080);
  return pair;
}

async function exchange(t: Test, near: AppStream, far: AppStream): Promise<void> {
  await near.write('ping');
  t.equal(await far.read(4), 'ping');
  await far.write('pong');
  t.equal(await near.read(4), 'pong');
}

async function endBoth(t: Test, near: AppStream, far: AppStream): Promise<void> {
  await near.end();
  t.equal((await far.readAll()).text, '');
  await far.end();
  t.equal((await near.readAll()).text, '');
}

const denyPort = {
  key: 'demo/no-8080',
  namespace: 'demo',
  scope: PolicyScope.SCOPE_NAMESPACE,
  action: PolicyAction.ACTION_DENY,
  rules: [{ clauses: [{ matches: [{ destinationPorts: [8080] }] }] }],
};

for (const client of ['mesh', 'bare'] as const) {
  const how = client === 'mesh' ? 'through a tunnel' : 'in plaintext';
  t.test(`a policy cuts the connections ${how} that it forbids, and no other`, async (t) => {
    const pair = await startPair(t, { client });
    const { clientPod, server } = pair;
    await server.app.listen(8081);
    const [near, far] = await pair.connect(8080);
    const [otherNear, otherFar] = await pair.connect(8081);
    await exchange(t, near, far);
    const failures = Promise.all([near.failure(), far.failure()]);
    server.engine.apply({ policies: [denyPort] });
    t.strictSame(await failures, ['ECONNRESET', 'ECONNRESET']);
    t.match(await server.events.take(closed), {
      reason: Reason.DENIED,
      policy: 'demo/no-8080',
      destinationAddress: '10.9.0.2:8080',
      bytesSent: 4n,
      bytesReceived: 4n,
    });
    t.equal(await clientPod.app.failure(server.ipv4, 8080), 'ECONNRESET', 'a new one');
    t.match(await server.events.take(refused), { reason: Reason.DENIED, policy: 'demo/no-8080' });
    await exchange(t, otherNear, otherFar);

    server.engine.apply({ removedPolicies: ['demo/no-8080'] });
    await exchange(t, ...(await pair.connect(8080)));
  });
}

t.test('renewed certificates, of another authority even, disturb nobody', async (t) => {
  const pair = await startPair(t);
  const { ca, client, server } = pair;
  const [near, far] = await pair.connect(8080);
  await exchange(t, near, far);
  const next = await TestCa.create(dirname(ca.rootFile), 'next');
  for (const pod of [client, server]) {
    pod.engine.setIdentity(await pair.material(pod.name, next));
  }
  const [newNear, newFar] = await pair.connect(8080);
  await exchange(t, newNear, newFar);
  await exchange(t, near, far);
  t.equal(client.engine.counters()['tunnels_opened'], 2n, 'the new one has a tunnel of its own');
  await endBoth(t, near, far);
  await endBoth(t, newNear, newFar);
  t.equal((await client.events.take(closed)).reason, Reason.NONE);
  t.equal((await client.events.take(closed)).reason, Reason.NONE);
});

t.test('a pod whose certificate is late', async (t) => {
  t.test('waits for it', async (t) => {
    const pair = await startPair(t, { identities: false, engine: { identityTimeoutMs: 10_000 } });
    const { client, server } = pair;
    const near = await client.app.connect(server.ipv4, 8080);
    await near.write('ping');
    for (const pod of [client, server]) {
      pod.engine.setIdentity(await pair.material(pod.name));
    }
    const far = await server.app.accept(8080);
    t.equal(await far.read(4), 'ping');
  });

  t.test('but not for ever', async (t) => {
    const pair = await startPair(t, { identities: false, engine: { identityTimeoutMs: 300 } });
    t.equal(await pair.client.app.failure(pair.server.ipv4, 8080), 'ECONNRESET');
    const event = await pair.client.events.take(refused);
    t.match(event, { reason: Reason.IDENTITY, detail: 'the pod has no certificate yet' });
    // Timers count from the beginning of a turn, in whole milliseconds.
    t.ok(event.durationUs >= 250_000n);
  });
});

for (const side of ['client', 'server'] as const) {
  t.test(`when the ${side}'s pod is removed its connections are cut`, async (t) => {
    const pair = await startPair(t);
    const pod: MeshPod = pair[side];
    const [near, far] = await pair.connect(8080);
    await exchange(t, near, far);
    const failures = Promise.all([near.failure(), far.failure()]);
    await pod.engine.removePod(side);
    t.strictSame(await failures, ['ECONNRESET', 'ECONNRESET']);
    t.match(await pod.events.take(closed), {
      reason: Reason.DRAINED,
      detail: 'the pod was removed',
    });
    const failure = await pair.client.app.failure(pair.server.ipv4, 8080);
    t.equal(failure, side === 'client' ? 'ECONNREFUSED' : 'ECONNRESET', 'nobody listens any more');

    await pod.enrol();
    await exchange(t, ...(await pair.connect(8080)));
  });

  t.test(`when the ${side}'s engine drains, what is open may end`, async (t) => {
    const pair = await startPair(t);
    const [near, far] = await pair.connect(8080);
    await exchange(t, near, far);
    let drained = false;
    const draining = pair[side].engine.drain(20_000).then(() => {
      drained = true;
    });
    // Until the client's end has heard of it a new stream is served, as it should be.
    while ((await pair.client.engine.snapshot()).tunnels.some(({ retiring }) => !retiring)) {
      await wait(5);
    }
    const failure = await pair.client.app.failure(pair.server.ipv4, 8080);
    t.match(failure, /^ECONN(RESET|REFUSED)$/, 'nothing new is taken');
    await exchange(t, near, far);
    t.equal(drained, false);
    await endBoth(t, near, far);
    await draining;
    t.equal((await pair[side].events.take(closed)).reason, Reason.NONE);
  });

  t.test(`when the ${side}'s drain is over what is open is cut`, async (t) => {
    const pair = await startPair(t);
    const [near, far] = await pair.connect(8080);
    await exchange(t, near, far);
    const failures = Promise.all([near.failure(), far.failure()]);
    const before = Date.now();
    await pair[side].engine.drain(300);
    t.ok(Date.now() - before >= 250);
    t.strictSame(await failures, ['ECONNRESET', 'ECONNRESET']);
    t.match(await pair[side].events.take(closed), {
      reason: Reason.DRAINED,
      detail: "the drain's deadline passed",
    });
  });
}
