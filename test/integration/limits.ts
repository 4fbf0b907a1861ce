// SPDX-License-Identifier: Apache-2.0
// What a pod's own applications may take of the proxy, each limit at its edge. Needs root.
import t from 'tap';
import { type ConnectionEvent, type EngineLimits, Kind, Reason } from '../../native/index.ts';
import { MeshPair, type PairOptions } from '../support/mesh-pair.ts';

t.setTimeout(60_000);

const refused = (event: ConnectionEvent): boolean => event.kind === Kind.REFUSED;

async function start(
  t: Parameters<typeof MeshPair.start>[0],
  limits: EngineLimits,
  options: PairOptions = {},
): Promise<MeshPair> {
  const pair = await MeshPair.start(t, { ...options, engine: { ...options.engine, limits } });
  await pair.serverPod.app.listen(8080);
  return pair;
}

t.test('a tunnel carries so many streams, then another one is opened', async (t) => {
  const pair = await start(t, { streamsPerTunnel: 2 });
  for (let at = 0; at < 5; at++) {
    const [near, far] = await pair.connect(8080);
    await near.write('ping');
    t.equal(await far.read(4), 'ping');
  }
  const { tunnels, connections } = await pair.client.engine.snapshot();
  t.equal(connections.length, 5);
  t.strictSame(tunnels.map(({ streams }) => streams).sort(), [1, 2, 2]);
});

t.test('without an idle time no connection is carried by a tunnel of an earlier one', async (t) => {
  const engine = { tunnelIdleMs: 0 };
  const pair = await start(t, { streamsPerTunnel: 1 }, { engine });
  const count = 20;
  for (let at = 0; at < count; at++) {
    const [near, far] = await pair.connect(8080);
    await near.write('ping');
    t.equal(await far.read(4), 'ping');
    await near.end();
    await far.end();
    await near.readAll();
  }
  t.equal(pair.client.engine.counters()['tunnels_opened'], BigInt(count));
});

t.test('a pod has so many tunnels to one peer, and the next connection is refused', async (t) => {
  const pair = await start(t, { streamsPerTunnel: 1, tunnelsPerPeer: 2 });
  const [one] = await pair.connect(8080);
  await pair.connect(8080);
  t.equal(await pair.client.app.failure(pair.server.ipv4, 8080), 'ECONNRESET');
  t.match(await pair.client.events.take(refused), { reason: Reason.LIMIT });
  t.equal(pair.client.engine.counters()['limit_reached'], 1n);

  t.comment('what ends makes room');
  await one.reset();
  await pair.client.events.take(({ kind }) => kind === Kind.CLOSED);
  const [near, far] = await pair.connect(8080);
  await near.write('ping');
  t.equal(await far.read(4), 'ping');
});

t.test('so many connections wait for the pod to get a certificate', async (t) => {
  const pair = await start(t, { heldPerPod: 1 }, { identities: false });
  const { client, server } = pair;
  const held = await client.app.connect(server.ipv4, 8080);
  t.equal(await client.app.failure(server.ipv4, 8080), 'ECONNRESET');
  t.match(await client.events.take(refused), { reason: Reason.LIMIT });
  const accepted = server.app.accept(8080);
  server.engine.setIdentity(await pair.material('server'));
  client.engine.setIdentity(await pair.material('client'));
  const far = await accepted;
  await held.write('ping');
  t.equal(await far.read(4), 'ping');
});

t.test('a pod has so many connections outbound, in plaintext too', async (t) => {
  const pair = await start(t, { connectionsPerPod: 1 }, { server: 'bare' });
  const { client, serverPod } = pair;
  client.engine.apply({ removedWorkloads: ['server'] });
  const [near] = await pair.connect(8080);
  t.equal(await client.app.failure(serverPod.ipv4, 8080), 'ECONNRESET');
  t.match(await client.events.take(refused), { reason: Reason.LIMIT });
  await near.reset();
  await client.events.take(({ kind }) => kind === Kind.CLOSED);
  await pair.connect(8080);
});
