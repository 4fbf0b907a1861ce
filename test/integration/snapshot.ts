// SPDX-License-Identifier: Apache-2.0
// What the engine says is open. Needs root.
import t from 'tap';
import { Direction, Kind } from '../../native/index.ts';
import { MeshPair } from '../support/mesh-pair.ts';

t.setTimeout(60_000);

t.test('says what is open at both ends, and nothing once it ended', async (t) => {
  const pair = await MeshPair.start(t);
  const { client, server } = pair;
  await server.app.listen(8080);
  const [near, far] = await pair.connect(8080);
  await near.write('hello');
  t.equal(await far.read(5), 'hello');

  const out = await client.engine.snapshot();
  const [connection] = out.connections;
  t.match(connection, {
    direction: Direction.OUTBOUND,
    podUid: 'client',
    destinationAddress: `${server.ipv4}:8080`,
    sourceIdentity: client.spiffeId,
    destinationIdentity: server.spiffeId,
    bytesSent: 5n,
    mutualTls: true,
  });
  t.match(out.tunnels, [
    {
      direction: Direction.OUTBOUND,
      peerAddress: `${server.ipv4}:15008`,
      ownIdentity: client.spiffeId,
      peerIdentity: server.spiffeId,
      streams: 1,
      up: true,
      retiring: false,
    },
  ]);
  t.equal(out.omitted, 0n);
  const inbound = await server.engine.snapshot();
  t.match(inbound.connections, [{ direction: Direction.INBOUND, bytesSent: 5n }]);
  t.match(inbound.tunnels, [{ direction: Direction.INBOUND, peerIdentity: client.spiffeId }]);

  await near.end();
  await far.readAll();
  await far.end();
  await near.readAll();
  await client.events.take((event) => event.kind === Kind.CLOSED);
  t.same((await client.engine.snapshot()).connections, []);
});
