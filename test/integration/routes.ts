// SPDX-License-Identifier: Apache-2.0
// What becomes of outbound connections, open and new ones, when their destination is not what it
// was. Needs root.
import t, { type Test } from 'tap';
import { type ConnectionEvent, Kind, Reason } from '../../native/index.ts';
import { MeshPair, type PairOptions, workloadOf } from '../support/mesh-pair.ts';

const closed = (event: ConnectionEvent): boolean => event.kind === Kind.CLOSED;
const refused = (event: ConnectionEvent): boolean => event.kind === Kind.REFUSED;

async function startPair(t: Test, options: PairOptions = {}): Promise<MeshPair> {
  const pair = await MeshPair.start(t, options);
  await pair.serverPod.app.listen(8080);
  return pair;
}

type Change = Parameters<MeshPair['client']['engine']['apply']>[0];

const changes: readonly [string, Change, RegExp][] = [
  ['is gone', { removedWorkloads: ['server'] }, /is gone/],
  [
    'has another identity',
    { workloads: [{ ...workloadOf('server'), serviceAccount: 'other' }] },
    /another identity/,
  ],
  [
    'needs a waypoint now',
    { workloads: [{ ...workloadOf('server'), waypoint: true }] },
    /waypoint only/,
  ],
];

for (const [what, change, why] of changes) {
  t.test(`a connection whose destination ${what} is cut at the source`, async (t) => {
    const pair = await startPair(t);
    const { client } = pair;
    const [near, far] = await pair.connect(8080);
    await near.write('ping');
    t.equal(await far.read(4), 'ping');
    client.engine.apply({ workloads: [workloadOf('server')] });
    await far.write('pong');
    t.equal(await near.read(4), 'pong', 'the same again cuts nothing');
    const failures = Promise.all([near.failure(), far.failure()]);
    client.engine.apply(change);
    t.strictSame(await failures, ['ECONNRESET', 'ECONNRESET']);
    const event = await client.events.take(closed);
    t.match(event, { reason: Reason.NO_ROUTE, detail: /^route changed: / });
    t.match(event.detail, why);
  });
}

t.test('nothing goes round a waypoint', async (t) => {
  const { client, server } = await startPair(t);
  client.engine.apply({ workloads: [{ ...workloadOf('server'), waypoint: true }] });
  t.equal(await client.app.failure(server.ipv4, 8080), 'ECONNRESET');
  t.match(await client.events.take(refused), { reason: Reason.NO_ROUTE, detail: /waypoint/ });
  const explained = client.engine.explain({
    source: 'client',
    destination: server.ipv4,
    port: 8080,
  });
  t.match(explained, { path: 'refused', why: /waypoint/ });
});

t.test('with the registry only, what is not in the mesh is refused', async (t) => {
  const pair = await startPair(t, { engine: { outboundPolicy: 'registryOnly' } });
  const { client, server } = pair;
  const [near, far] = await pair.connect(8080);
  await near.write('ping');
  t.equal(await far.read(4), 'ping');
  client.engine.apply({ removedWorkloads: ['server'] });
  t.equal(await client.app.failure(server.ipv4, 8080), 'ECONNRESET');
  t.match(await client.events.take(refused), {
    reason: Reason.NO_ROUTE,
    detail: /not in the mesh/,
  });
});
