// SPDX-License-Identifier: Apache-2.0
// An application that does not read stops the one that sends, after a number of bytes that can be
// stated, and what was held back comes unchanged once it reads on. Needs root.
import t, { type Test } from 'tap';
import { MeshPair, type PairOptions, socketBytesMax } from '../support/mesh-pair.ts';
import type { AppStream } from '../support/pod-app.ts';

const bytes = 32 << 20;
const stallMs = 400;

// Two sockets of the sender's side and two of the receiver's hold at most `socketBytesMax` each.
const socketsBytes = 4 * socketBytesMax;
// Between them lie one stream's window and the record that is being filled, or one buffer.
const bounds = {
  tunnel: socketsBytes + (256 << 10) + (16 << 10),
  plaintext: socketsBytes + (64 << 10),
};

async function stall(t: Test, from: AppStream, bound: number): Promise<void> {
  const held = await from.fill(bytes, stallMs);
  t.equal(held.stalled, true);
  t.ok(held.sent <= bound, `${held.sent} of at most ${bound} bytes were taken`);
}

async function readOn(t: Test, from: AppStream, to: AppStream): Promise<void> {
  const reading = to.readAll();
  const sent = await from.fill(bytes, 10_000);
  await from.end();
  const received = await reading;
  t.equal(received.received, bytes);
  t.equal(received.receivedSha256, sent.sentSha256);
}

async function bothWays(t: Test, options: PairOptions, bound: number): Promise<void> {
  const pair = await MeshPair.start(t, options);
  await pair.serverPod.app.listen(8080);
  const [near, far] = await pair.connect(8080);
  await stall(t, near, bound);
  await stall(t, far, bound);
  // Reading one way does not depend on the other.
  await readOn(t, far, near);
  await readOn(t, near, far);
}

t.test('through a tunnel', async (t) => {
  await bothWays(t, {}, bounds.tunnel);
});

t.test('in plaintext out of the mesh', async (t) => {
  const pair = await MeshPair.start(t, { server: 'bare' });
  pair.apply({ removedWorkloads: ['server'] });
  await pair.serverPod.app.listen(8080);
  const [near, far] = await pair.connect(8080);
  await stall(t, near, bounds.plaintext);
  await readOn(t, near, far);
});

t.test('in plaintext into the mesh', async (t) => {
  await bothWays(t, { client: 'bare' }, bounds.plaintext);
});

t.test('many that stall leave room for others, and take a bounded memory', async (t) => {
  const pair = await MeshPair.start(t);
  const { client, server } = pair;
  await server.app.listen(8080);
  await server.app.echo(9000);
  const streams: [AppStream, AppStream][] = [];
  for (let i = 0; i < 16; i++) {
    streams.push(await pair.connect(8080));
  }
  const before = process.memoryUsage.rss();
  await Promise.all(streams.map(([near]) => stall(t, near, bounds.tunnel)));
  const grown = process.memoryUsage.rss() - before;
  t.ok(grown < 32 << 20, `${grown} bytes more for 16 streams that had ${16 * bytes} to send`);

  const other = await client.app.connect(server.ipv4, 9000);
  const sent = await other.writeRandom(100_000);
  await other.end();
  t.equal((await other.readAll()).receivedSha256, sent.sentSha256);
  t.equal(client.engine.counters()['tunnels_opened'], 1n, 'all of that in one tunnel');

  const [first] = streams;
  if (first !== undefined) {
    await readOn(t, ...first);
  }
});
