// SPDX-License-Identifier: Apache-2.0
// What is measured of direct connections, over a cable that loses segments and one that is slow.
// Needs root.
process.env['WEFT_TEST_CAPTURE'] = 'ebpf';

import t, { type Test } from 'tap';
import { type ConnectionEvent, Direction, Kind } from '../../../native/index.ts';
import type { MeshPair } from '../../support/mesh-pair.ts';

const { published, run, startNode } = await import('../../support/same-node.ts');

const port = 8080;
const closedPort = 8099;
const bytes = 400_000;
/** Of a cable on which a queue of some ten kilobytes takes longer than a millisecond. */
const slow = 'root tbf rate 20mbit burst 3000 limit 100000';

/** Sends bytes by a direct connection, and resolves to what both ends report of it. */
async function measured(
  test: Test,
  { client: { events }, clientPod, serverPod }: MeshPair,
): Promise<Record<'outbound' | 'inbound', ConnectionEvent>> {
  const near = await clientPod.app.connect(serverPod.ipv4, port);
  const far = await serverPod.app.accept(port);
  const [sent, , received] = await Promise.all([
    near.writeRandom(bytes).then(async (totals) => {
      await near.end();
      return totals;
    }),
    near.readAll(),
    far.readAll().then(async (totals) => {
      await far.end();
      return totals;
    }),
  ]);
  test.equal(received.receivedSha256, sent.sentSha256);
  const source = new RegExp(`:${near.local[1]}$`);
  const closed = (direction: Direction): Promise<ConnectionEvent> =>
    events.take((each) => {
      const isEnd = each.kind === Kind.CLOSED && each.direction === direction;
      return isEnd && source.test(each.sourceAddress);
    });
  return {
    outbound: await closed(Direction.OUTBOUND),
    inbound: await closed(Direction.INBOUND),
  };
}

await t.test('round trips and retransmissions of direct connections are told', async (t) => {
  const pair = await startNode(t);
  const { clientPod, serverPod } = pair;
  await serverPod.app.listen(port);
  await published(pair, closedPort, 'direct');

  // On a machine that is late a probe for a lost tail is sent again, too (RFC 8985 section 7).
  let onGoodCable = 0;
  await t.test('over a good cable', async (t) => {
    const { outbound, inbound } = await measured(t, pair);
    onGoodCable = outbound.retransmits;
    t.ok(outbound.rttUs > 0, `${outbound.rttUs} us`);
    t.match(inbound, { rttUs: 0, retransmits: 0 }, 'the source alone measures');
  });

  await t.test('over one that loses every twentieth packet', async (t) => {
    await run(
      serverPod,
      ['nft', '-f', '-'],
      [
        'table inet loss {',
        ` chain in { type filter hook input priority 0; tcp dport ${port} numgen inc mod 20 6 drop; }`,
        '}',
      ].join('\n'),
    );
    const { outbound, inbound } = await measured(t, pair);
    await run(serverPod, ['nft', 'delete', 'table', 'inet', 'loss']);
    t.ok(outbound.retransmits > onGoodCable, `${outbound.retransmits}, not ${onGoodCable}`);
    t.equal(inbound.retransmits, 0);
  });

  await t.test('over a slow one', async (t) => {
    await run(clientPod, ['tc', 'qdisc', 'add', 'dev', 'eth0', ...slow.split(' ')]);
    const { outbound } = await measured(t, pair);
    t.ok(outbound.rttUs > 1_000, `${outbound.rttUs} us`);
  });
});
