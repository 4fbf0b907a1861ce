// SPDX-License-Identifier: Apache-2.0
// Direct connections when policy turns: what is denied ends at both of its ends, also when the
// client's pod does all it can that it should not, and nothing else is touched. Needs root.
process.env['WEFT_TEST_CAPTURE'] = 'ebpf';

import t from 'tap';

const { countOf } = await import('../../support/kernel-counters.ts');
const { allowClient, denyPort, published, run, startNode } = await import(
  '../../support/same-node.ts'
);

const port = 8080;
const other = 8081;
const connections = 1_000;
const flips = 3;

/** Rules by which a pod keeps to itself that its sockets die, or are done. */
const mute = `table inet mute { chain out { type filter hook output priority 0;
  tcp flags & (fin | rst) != 0 drop; }; }`;

await t.test('a pod that keeps the end of its sockets to itself', async (t) => {
  const pair = await startNode(t);
  const { clientPod, serverPod } = pair;
  await serverPod.app.listen(port);
  await published(pair, port, 'direct');
  await serverPod.app.drop();
  await run(clientPod, ['nft', '-f', '-'], mute);

  for (const [title, leave] of [
    ['does not keep the other end', false],
    ['nor when it closed its own before', true],
  ] as const) {
    for (const family of ['ipv4', 'ipv6'] as const) {
      await t.test(`${title} (${family})`, async (t) => {
        pair.apply({ removedPolicies: ['demo/deny'] });
        await published(pair, port, 'direct');
        // Those that `published` opened are still in the queue.
        const near = await clientPod.app.connect(serverPod[family], port);
        let far = await serverPod.app.accept(port);
        while (far.peer[1] !== near.local[1]) {
          far = await serverPod.app.accept(port);
        }
        await near.write('x');
        t.equal(await far.read(1), 'x');
        if (leave) {
          await near.reset();
        }
        const reading = far.failure();
        const begun = Date.now();
        pair.apply({ policies: [denyPort(port)] });
        t.match(await reading, /ECONNABORTED|ECONNRESET/, 'the application is told');
        t.ok(Date.now() - begun < 1_000, 'within a second');
      });
    }
  }

  await t.test('nor one whose SYN was answered, and no more', async (t) => {
    pair.apply({ removedPolicies: ['demo/deny'] });
    await run(clientPod, ['nft', 'delete', 'table', 'inet', 'mute']);
    await published(pair, port, 'direct');
    // The last packet of the handshake does not leave: for the server it is half open.
    await run(
      clientPod,
      ['nft', '-f', '-'],
      `table inet mute { chain out { type filter hook output priority 0;
        tcp dport ${port} tcp flags & (syn | ack) == ack drop;
        tcp dport ${port} tcp flags & rst != 0 drop; }; }`,
    );
    const half = async (): Promise<number> =>
      (await run(serverPod, ['ss', '-Htn', 'state', 'syn-recv'])).split('\n').length - 1;
    await clientPod.app.connectEach(serverPod.ipv4, port, 1, true);
    t.equal(await half(), 1);
    pair.apply({ policies: [denyPort(port)] });
    const until = Date.now() + 1_000;
    while ((await half()) > 0 && Date.now() < until);
    t.equal(await half(), 0, 'it is forgotten');
  });
});

await t.test('a policy that names the client leaves the client its connection', async (t) => {
  const pair = await startNode(t);
  const { clientPod, serverPod } = pair;
  await published(pair, other, 'direct');
  await serverPod.app.listen(port);
  const [near, far] = await pair.connect(port);
  // The other way round it says no: the server may not call the client.
  pair.apply({ policies: [allowClient()] });
  const denied = async (): Promise<boolean> => {
    const before = countOf('direct_denied');
    await serverPod.app.connectEach(clientPod.ipv4, port, 1);
    return countOf('direct_denied') > before;
  };
  for (const until = Date.now() + 3_000; !(await denied()) && Date.now() < until; );
  // Policy that turned is looked at twice; what this one is published with comes after both.
  pair.apply({ policies: [denyPort(other)] });
  await published(pair, other, 'refused');
  await near.write('x');
  t.equal(await far.read(1), 'x');
  await far.write('y');
  t.equal(await near.read(1), 'y');
});

await t.test('a thousand connections, and policy that turns', async (t) => {
  const pair = await startNode(t);
  const { clientPod, serverPod } = pair;
  const { app } = clientPod;
  for (const each of [port, other]) {
    await serverPod.app.echo(each, 4096);
  }
  await published(pair, port, 'direct');
  await published(pair, other, 'direct');
  const passed = countOf('direct_passed');
  await app.connectMany(serverPod.ipv4, other, connections / 2);
  await app.connectMany(serverPod.ipv6, other, connections / 2);
  t.equal(await app.alive(), connections);
  t.equal(countOf('direct_passed') - passed, connections, 'all of them are direct');

  await app.work();
  for (let flip = 0; flip < flips; flip++) {
    const near = await app.connect(serverPod.ipv4, port);
    const reading = near.failure();
    const begun = Date.now();
    pair.apply({ policies: [denyPort(port)] });
    t.match(await reading, /ECONNABORTED|ECONNRESET/);
    t.ok(Date.now() - begun < 1_000, 'the one that is denied ends within a second');
    pair.apply({ removedPolicies: ['demo/deny'] });
    await published(pair, port, 'direct');
  }
  const { rounds, lost } = await app.rest();
  t.ok(rounds > 0);
  t.equal(lost, 0, `the others carry data all the while, ${rounds} times each`);
  t.equal(await app.alive(), connections);

  for (let flip = 0; flip < flips; flip++) {
    await app.work();
    const ending = app.ended();
    const begunMs = Number(process.hrtime.bigint()) / 1e6;
    pair.apply({ policies: [denyPort(other)] });
    const { count, lastMs } = await ending;
    const tookMs = Math.round(lastMs - begunMs);
    t.equal(count, connections, 'all end when they are denied');
    t.ok(tookMs < 1_000, `the last one ${tookMs} ms after`);
    await app.rest();
    await app.drop();
    pair.apply({ removedPolicies: ['demo/deny'] });
    await published(pair, other, 'direct');
    if (flip < flips - 1) {
      await app.connectMany(serverPod.ipv4, other, connections / 2);
      await app.connectMany(serverPod.ipv6, other, connections / 2);
    }
  }

  await t.test('and connections that end meanwhile end nobody else', async (t) => {
    for (let flip = 0; flip < flips; flip++) {
      await app.connectMany(serverPod.ipv4, other, connections);
      pair.apply({ policies: [denyPort(other)] });
      await app.drop();
      await published(pair, other, 'refused');
      pair.apply({ removedPolicies: ['demo/deny'] });
      await published(pair, other, 'direct');
    }
    const listening = (pod: typeof serverPod) => run(pod, ['ss', '-Htln']);
    for (const pod of [clientPod, serverPod]) {
      const lines = await listening(pod);
      t.match(lines, /:15001\b/);
      t.match(lines, /:15006\b/);
      t.match(lines, /:15008\b/);
    }
    t.match(await listening(serverPod), new RegExp(`:${other}\\b`));
  });
});
