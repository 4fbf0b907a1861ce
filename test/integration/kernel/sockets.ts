// SPDX-License-Identifier: Apache-2.0
// Every way in which an application may open a TCP connection is captured: real sockets of each
// kind. Needs root.
process.env['WEFT_TEST_CAPTURE'] = 'ebpf';

import t from 'tap';
import type { ConnectHow } from '../../support/pod-app.ts';

const { counterSteps } = await import('../../support/kernel-counters.ts');
const { MeshPair } = await import('../../support/mesh-pair.ts');

const port = 8080;
const closedPort = 8099;
const bulkBytes = 1 << 20;

const pair = await MeshPair.start(t);
const { client, server } = pair;
await server.app.listen(port);

const ways: readonly [title: string, how: ConnectHow, sees?: 'the proxy'][] = [
  ['a plain socket', {}],
  ['a non-blocking socket', { nonblocking: true }],
  ['a socket that failed to connect before', { failAt: closedPort }],
  ['a socket that failed before, non-blocking', { failAt: closedPort, nonblocking: true }],
  ['a socket with a source port', { sourcePort: 4001 }],
  ['TCP_FASTOPEN_CONNECT', { fastOpen: true }],
  ['MSG_FASTOPEN', { firstBytes: 'early' }],
  ['MPTCP', { mptcp: true }, 'the proxy'],
  ['MPTCP, non-blocking', { mptcp: true, nonblocking: true }, 'the proxy'],
];

for (const family of ['ipv4', 'ipv6'] as const) {
  const host = server[family];
  const bound: ConnectHow = { source: client[family] };
  const all: typeof ways = [...ways, ['a socket bound to an address', bound]];
  for (const [title, how, sees] of all) {
    await t.test(`${title} is captured, and its data arrives (${family})`, async (t) => {
      const steps = counterSteps();
      const opening = client.app.connect(host, port, how);
      // A SYN that waits for the first bytes leaves with them.
      const near = how.fastOpen === true ? await opening : undefined;
      await near?.write('early');
      const [again, far] = await Promise.all([opening, server.app.accept(port)]);
      const isEarly = how.fastOpen === true || how.firstBytes !== undefined;
      if (isEarly) {
        t.equal(await far.read(5), 'early');
      }
      if (sees === undefined) {
        t.strictSame(again.peer, [host, port], 'it sees whom it called');
      } else {
        t.equal(again.peer[1], 15001, 'its outer socket is not the one that was captured');
      }
      if (how.sourcePort !== undefined) {
        t.equal(again.local[1], how.sourcePort);
      }
      t.match(far.peer[0], new RegExp(`${client[family]}$`), 'and is seen as itself');
      const [sent, arrived] = await Promise.all([
        again.writeRandom(bulkBytes).finally(() => again.end()),
        far.readAll(),
      ]);
      t.equal(arrived.received, bulkBytes + (isEarly ? 5 : 0));
      if (how.firstBytes === undefined) {
        t.equal(arrived.receivedSha256, sent.sentSha256);
      }
      await far.write('x');
      await far.end();
      t.equal((await again.readAll()).text, 'x');
      const counted = steps();
      t.match(counted, { outbound_captured: 1 }, 'once');
      t.equal(counted['outbound_lost_origin'], undefined);
    });
  }
}

await t.test('a foreign source address goes nowhere', async (t) => {
  const steps = counterSteps();
  const how = { transparent: true, source: '10.9.0.77', waitMs: 500 };
  t.not(await client.app.failure(server.ipv4, port, how), '0 bytes and a clean end');
  t.match(steps(), { outbound_captured: 1 });
  // The next that is accepted is the next that was opened.
  const [near, far] = await pair.connect(port);
  await near.write('mine');
  t.equal(await far.read(4), 'mine');
});
