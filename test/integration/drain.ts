// SPDX-License-Identifier: Apache-2.0
// What a drain must not lose. Needs root.
import { createHash } from 'node:crypto';
import t from 'tap';
import { MeshPair } from '../support/mesh-pair.ts';

t.setTimeout(30_000);

t.test('an answer that both ends have said still arrives when the tunnel ends', async (t) => {
  const pair = await MeshPair.start(t);
  const { server } = pair;
  await server.app.listen(8080);
  const [near, far] = await pair.connect(8080);
  await near.end();
  t.equal((await far.readAll()).text, '');
  // More than the client's socket takes, so that its proxy holds the rest; the client does not read.
  const answer = 'x'.repeat(250_000);
  await far.write(answer);
  await far.end();
  await server.events.take((event) => event.bytesReceived === BigInt(answer.length));
  await server.engine.drain(10_000);
  const all = await near.readAll();
  t.equal(all.received, answer.length);
  t.equal(all.receivedSha256, createHash('sha256').update(answer).digest('hex'));
});
