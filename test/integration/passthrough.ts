// SPDX-License-Identifier: Apache-2.0
// Plaintext in and out of the mesh, and whose address an application sees. Needs root.
import t from 'tap';
import {
  Direction,
  Kind,
  PolicyAction,
  PolicyScope,
  Protocol,
  Reason,
} from '../../native/index.ts';
import { MeshPair, spiffeId, workloadOf } from '../support/mesh-pair.ts';

t.test('a pod of the mesh calls one that is not', async (t) => {
  const pair = await MeshPair.start(t, { server: 'bare' });
  const { client, serverPod } = pair;
  client.engine.apply({ removedWorkloads: ['server'] });
  await serverPod.app.listen(8080);

  t.test('in plaintext, and each side may end first', async (t) => {
    for (const host of [serverPod.ipv4, serverPod.ipv6]) {
      await serverPod.app.sniff();
      const [near, far] = await pair.connect(8080, host);
      await near.write('marker-in-the-open');
      await near.end();
      t.equal((await far.readAll()).text, 'marker-in-the-open');
      await far.write('still here');
      await far.end();
      t.equal((await near.readAll()).text, 'still here');
      t.ok((await serverPod.app.sniffed('marker-in-the-open')).holding > 0, 'the link shows it');
      const closed = await client.events.take((event) => event.kind === Kind.CLOSED);
      t.match(closed, {
        direction: Direction.OUTBOUND,
        reason: Reason.NONE,
        bytesSent: 18n,
        bytesReceived: 10n,
        tunnelAddress: '',
        sourceIdentity: '',
        mutualTls: false,
      });
    }
    const [near, far] = await pair.connect(8080);
    await far.end();
    t.equal((await near.readAll()).text, '');
    await near.write('after the end');
    await near.end();
    t.equal((await far.readAll()).text, 'after the end');
  });

  t.test('and a reset of either side is a reset for the other', async (t) => {
    for (const side of ['client', 'server'] as const) {
      const [near, far] = await pair.connect(8080);
      await near.write('x');
      await far.read(1);
      const [from, to] = side === 'client' ? [near, far] : [far, near];
      const failure = to.failure();
      await from.reset();
      t.equal(await failure, 'ECONNRESET', side);
    }
  });

  t.test('a port that is closed is a reset, not silence', async (t) => {
    t.equal(await client.app.failure(serverPod.ipv4, 8081), 'ECONNRESET');
    const refused = await client.events.take((event) => event.kind === Kind.REFUSED);
    t.match(refused, { reason: Reason.CONNECT, destinationAddress: '10.9.0.2:8081' });
  });

  t.test('a workload that is known, but not enrolled, is reached in plaintext too', async (t) => {
    client.engine.apply({ workloads: [{ ...workloadOf('server'), protocol: Protocol.TCP }] });
    const [near, far] = await pair.connect(8080);
    await near.write('plain');
    t.equal(await far.read(5), 'plain');
    await near.end();
    await far.end();
    await near.readAll();
    const closed = await client.events.take(
      (event) => event.kind === Kind.CLOSED && event.destinationWorkload === 'server',
    );
    t.equal(closed.tunnelAddress, '');
  });
});

t.test('a machine outside the mesh calls a pod of it', async (t) => {
  const pair = await MeshPair.start(t, { client: 'bare' });
  const { clientPod, server } = pair;
  await server.app.listen(8080);

  t.test('in plaintext, which no policy forbids, and is seen by its own address', async (t) => {
    for (const [host, own] of [
      [server.ipv4, '::ffff:10.9.0.1'],
      [server.ipv6, 'fd09::1'],
    ] as const) {
      const [near, far] = await pair.connect(8080, host);
      t.equal(far.peer[0], own);
      await near.write('question');
      await near.end();
      t.equal((await far.readAll()).text, 'question');
      await far.write('answer');
      await far.end();
      t.equal((await near.readAll()).text, 'answer');
      const closed = await server.events.take((event) => event.kind === Kind.CLOSED);
      t.match(closed, {
        direction: Direction.INBOUND,
        reason: Reason.NONE,
        bytesSent: 8n,
        bytesReceived: 6n,
        sourceIdentity: '',
        mutualTls: false,
      });
    }
  });

  t.test('a reset of the application is a reset for the caller', async (t) => {
    const [near, far] = await pair.connect(8080);
    await near.write('x');
    await far.read(1);
    await far.reset();
    t.equal(await near.failure(), 'ECONNRESET');
  });

  t.test('a policy that wants an identity refuses it', async (t) => {
    const principals = [{ match: { case: 'exact', value: spiffeId('client').slice(9) } }] as const;
    server.engine.apply({
      policies: [
        {
          key: 'demo/identity',
          namespace: 'demo',
          scope: PolicyScope.SCOPE_NAMESPACE,
          action: PolicyAction.ACTION_ALLOW,
          rules: [{ clauses: [{ matches: [{ principals: [...principals] }] }] }],
        },
      ],
    });
    t.equal(await clientPod.app.failure(server.ipv4, 8080), 'ECONNRESET');
    const refused = await server.events.take((event) => event.kind === Kind.REFUSED);
    t.match(refused, { reason: Reason.DENIED, destinationAddress: '10.9.0.2:8080' });
    t.equal(server.engine.counters()['streams_denied'], 1n);
  });
});

t.test('an application behind the tunnel sees the address of its caller', async (t) => {
  const pair = await MeshPair.start(t);
  const { server } = pair;
  await server.app.listen(8080);
  for (const [host, own] of [
    [server.ipv4, '::ffff:10.9.0.1'],
    [server.ipv6, 'fd09::1'],
  ] as const) {
    const [near, far] = await pair.connect(8080, host);
    t.equal(far.peer[0], own);
    await near.end();
    await far.end();
    const closed = await server.events.take((event) => event.kind === Kind.CLOSED);
    t.match(closed, { sourceIdentity: spiffeId('client'), mutualTls: true, reason: Reason.NONE });
  }
});
