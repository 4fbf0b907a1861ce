// SPDX-License-Identifier: Apache-2.0
// Pods of one node without the proxy: real namespaces, programs and engines. Needs root.
process.env['WEFT_TEST_CAPTURE'] = 'ebpf';

import t from 'tap';
import { Direction, Kind, Reason } from '../../../native/index.ts';

const { countOf: count } = await import('../../support/kernel-counters.ts');
const { spiffeId } = await import('../../support/mesh-pair.ts');
const { denyPort: deny, published, startNode } = await import('../../support/same-node.ts');

const port = 8080;

t.test('two pods of one node', async (t) => {
  const pair = await startNode(t);
  const { clientPod, serverPod } = pair;
  const { events } = pair.client;
  await serverPod.app.echo(port);
  await serverPod.app.listen(port + 2);
  await published(pair, port, 'direct');

  for (const family of ['ipv4', 'ipv6'] as const) {
    await t.test(`connect past the proxy, which knows of it (${family})`, async (t) => {
      const [direct, captured] = [count('direct_passed'), count('outbound_captured')];
      const [near, far] = await pair.connect(port + 2, serverPod[family]);
      t.strictSame(near.peer, [serverPod[family], port + 2]);
      t.equal(near.local[0], clientPod[family]);
      await near.write('hello');
      t.equal(await far.read(5), 'hello');
      await far.write('welcome');
      await far.end();
      t.equal((await near.readAll()).text, 'welcome');
      await near.end();
      t.equal(count('direct_passed'), direct + 1);
      t.equal(count('outbound_captured'), captured);
      const source = new RegExp(`:${near.local[1]}$`);
      const closed = await events.take(({ kind, direction, sourceAddress }) => {
        const isOurs = source.test(sourceAddress) && direction === Direction.OUTBOUND;
        return isOurs && kind === Kind.CLOSED;
      });
      t.match(closed, {
        bytesSent: 5n,
        bytesReceived: 7n,
        sourceIdentity: spiffeId('client'),
        destinationIdentity: spiffeId('server'),
        mutualTls: false,
        reason: Reason.NONE,
      });
    });
  }

  await t.test('a port that policy denies is refused at connect, and told', async (t) => {
    pair.apply({ policies: [deny(port)] });
    await published(pair, port, 'refused');
    t.equal(await clientPod.app.failure(serverPod.ipv4, port), 'ECONNREFUSED');
    const refused = await events.take(({ kind, direction }) => {
      return kind === Kind.REFUSED && direction === Direction.OUTBOUND;
    });
    t.match(refused, { reason: Reason.DENIED, destinationAddress: `${serverPod.ipv4}:${port}` });
  });

  await t.test('what is open is cut when policy turns, and nothing else', async (t) => {
    await serverPod.app.echo(port + 1);
    pair.apply({ removedPolicies: ['demo/deny'] });
    await published(pair, port, 'direct');
    const doomed = await clientPod.app.connect(serverPod.ipv4, port);
    const spared = await clientPod.app.connect(serverPod.ipv4, port + 1);
    await doomed.write('x');
    await doomed.read(1);
    const begun = Date.now();
    pair.apply({ policies: [deny(port)] });
    t.match(await doomed.failure(), /ECONNABORTED|ECONNRESET/);
    t.ok(Date.now() - begun < 1_000, 'within a second');
    await spared.write('y');
    t.equal(await spared.read(1), 'y');
    pair.apply({ removedPolicies: ['demo/deny'] });
    await published(pair, port, 'direct');
  });

  await t.test('a source address of nobody is captured', async (t) => {
    const before = count('direct_passed');
    t.not(await clientPod.app.failure(serverPod.ipv4, port, { source: '127.0.0.1' }), '');
    t.equal(count('direct_passed'), before);
  });

  await t.test('what the engine published outlives it', async (t) => {
    pair.client.engine.stop();
    const before = count('direct_passed');
    const near = await clientPod.app.connect(serverPod.ipv4, port);
    await near.write('hello');
    t.equal(await near.read(5), 'hello');
    t.equal(count('direct_passed'), before + 1);
  });
});
