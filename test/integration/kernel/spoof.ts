// SPDX-License-Identifier: Apache-2.0
// Root in a pod tries to pass as another pod, or to have another's way past the proxy: nothing of it
// reaches the application. Needs root.
process.env['WEFT_TEST_CAPTURE'] = 'ebpf';

import t, { type Test } from 'tap';
import type { ConnectHow } from '../../support/pod-app.ts';

const { KernelCapture } = await import('../../support/kernel-capture.ts');
const { counterSteps } = await import('../../support/kernel-counters.ts');
const { allowClient, published, run, startNode } = await import('../../support/same-node.ts');
const { addStranger } = await import('../../support/stranger.ts');

const port = 8080;
const closedPort = 8099;

const pair = await startNode(t);
const { clientPod, serverPod } = pair;
const stranger = await addStranger(t, serverPod);
await KernelCapture.one.capture.install(stranger.netnsPath);
pair.apply({ policies: [allowClient()] });
await published(pair, closedPort, 'direct');
await serverPod.app.listen(port);

/** Steps of counters until `name` went, which may be a moment after a packet was sent. */
async function stepsTill(steps: () => Record<string, number>, name: string) {
  const all: Record<string, number> = {};
  for (const until = Date.now() + 3_000; all[name] === undefined && Date.now() < until; ) {
    for (const [each, step] of Object.entries(steps())) {
      all[each] = (all[each] ?? 0) + step;
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  return all;
}

/** The next connection that the application has is one that was opened after all else. */
async function nobodyCame(test: Test): Promise<void> {
  const [near, far] = await pair.connect(port);
  test.equal(far.peer[1], near.local[1], 'nobody reached the application');
  await near.reset();
}

await t.test('a tuple that is over is good for nobody', async (t) => {
  const near = await clientPod.app.connect(serverPod.ipv4, port, { sourcePort: 4100 });
  const far = await serverPod.app.accept(port);
  await near.reset();
  await far.failure();
  const steps = counterSteps();
  await stranger.app.rawSyn(clientPod.ipv4, 4100, serverPod.ipv4, port);
  const seen = await stepsTill(steps, 'inbound_captured');
  t.ok((seen['inbound_captured'] ?? 0) > 0, 'the proxy is asked');
  t.equal(seen['direct_passed'], undefined);
  await nobodyCame(t);
});

await t.test('nor is one of a live connection', async (t) => {
  const near = await clientPod.app.connect(serverPod.ipv4, port, { sourcePort: 4101 });
  const far = await serverPod.app.accept(port);
  const steps = counterSteps();
  await stranger.app.rawSyn(clientPod.ipv4, 4101, serverPod.ipv4, port);
  await near.write('x');
  t.equal(await far.read(1), 'x', 'which goes on');
  t.equal(steps()['direct_passed'], undefined);
  await near.reset();
  await nobodyCame(t);
});

await t.test('a SYN past connect() is a stranger', async (t) => {
  const steps = counterSteps();
  await clientPod.app.rawSyn(clientPod.ipv4, 4103, serverPod.ipv4, port);
  const seen = await stepsTill(steps, 'inbound_captured');
  t.ok((seen['inbound_captured'] ?? 0) > 0, 'the proxy is asked');
  t.equal(seen['direct_passed'], undefined);
  await nobodyCame(t);
});

const foreign: readonly [title: string, how: ConnectHow][] = [
  ['of nobody', { transparent: true, source: '10.9.0.77', waitMs: 500 }],
  ['of another pod', { transparent: true, source: stranger.ipv4, waitMs: 500 }],
];
for (const [title, how] of foreign) {
  await t.test(`a source address ${title} is a stranger's`, async (t) => {
    const steps = counterSteps();
    t.match(await clientPod.app.failure(serverPod.ipv4, port, how), /timeout|ECONNRESET/);
    const seen = steps();
    t.match(seen, { direct_allowed: 1, inbound_captured: Number });
    t.equal(seen['direct_passed'], undefined);
    await nobodyCame(t);
  });
}

await t.test('a source port that is in use towards one pod is no pass to another', async (t) => {
  const near = await clientPod.app.connect(serverPod.ipv4, port, { sourcePort: 4104 });
  const far = await serverPod.app.accept(port);
  const steps = counterSteps();
  const how = { sourcePort: 4104 };
  t.match(await clientPod.app.failure(stranger.ipv4, port, how), /ECONNRESET|0 bytes/);
  const seen = steps();
  t.match(seen, { outbound_captured: 1 });
  t.equal(seen['direct_allowed'], undefined);
  await near.write('x');
  t.equal(await far.read(1), 'x');
  await near.reset();
});

await t.test('a client behind the address of a node has no identity', async (t) => {
  await run(clientPod, ['ip', 'address', 'add', '10.9.0.50/24', 'dev', 'eth0']);
  await run(
    clientPod,
    ['nft', '-f', '-'],
    `table ip node { chain out { type nat hook postrouting priority 100;
      tcp dport ${port} snat to 10.9.0.50; }; }`,
  );
  const steps = counterSteps();
  t.match(await clientPod.app.failure(serverPod.ipv4, port), /ECONNRESET|0 bytes/);
  const seen = steps();
  t.match(seen, { direct_allowed: 1, inbound_captured: 1 });
  t.equal(seen['direct_passed'], undefined);
  await run(clientPod, ['nft', 'delete', 'table', 'ip', 'node']);
  await nobodyCame(t);
});
