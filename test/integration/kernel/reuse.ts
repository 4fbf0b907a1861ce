// SPDX-License-Identifier: Apache-2.0
// Addresses that go from pod to pod, and pods that take those of others: what one was allowed is
// nobody else's. Needs root.
process.env['WEFT_TEST_CAPTURE'] = 'ebpf';

import { closeSync, openSync } from 'node:fs';
import t from 'tap';
import { EbpfCapture } from '../../../src/cni/capture-ebpf.ts';
import type { Guard } from '../../../src/cni/guard.ts';
import type { BarePod } from '../../support/mesh-pair.ts';

const { KernelCapture } = await import('../../support/kernel-capture.ts');
const { counterSteps } = await import('../../support/kernel-counters.ts');
const { MeshPair } = await import('../../support/mesh-pair.ts');
const { allowClient, published, run, startNode } = await import('../../support/same-node.ts');
const { addStranger } = await import('../../support/stranger.ts');

const port = 8080;
const closedPort = 8099;
const { capture, node } = KernelCapture.one;

/** Keeps a pod's SYNs to that port from leaving, until what it answers is called. */
async function holdSyns(pod: BarePod): Promise<() => Promise<unknown>> {
  const rule = `table inet held { chain out { type filter hook output priority 0;
    tcp dport ${port} tcp flags & (syn | ack) == syn drop; }; }`;
  await run(pod, ['nft', '-f', '-'], rule);
  return () => run(pod, ['nft', 'delete', 'table', 'inet', 'held']);
}

function addressesOf(path: string): string[] {
  const fd = openSync(path, 'r');
  try {
    return node.addresses(fd).sort();
  } finally {
    closeSync(fd);
  }
}

await t.test('a pod keeps the addresses that it came with', async (t) => {
  const pair = await startNode(t);
  const { clientPod, serverPod } = pair;
  await serverPod.app.listen(port);
  await published(pair, closedPort, 'direct');
  const own = addressesOf(serverPod.netnsPath);
  t.strictSame(own, [serverPod.ipv4, serverPod.ipv6].sort());
  await run(serverPod, ['ip', 'address', 'add', '10.9.0.88/32', 'dev', 'lo']);
  const kept: string[] = [];
  const guard = {
    add: async (_: string, addresses: readonly string[]) => {
      kept.push(...addresses);
    },
  } as unknown as Guard;
  const again = new EbpfCapture(node, KernelCapture.one.options, guard);
  await again.install(serverPod.netnsPath);
  t.strictSame(addressesOf(serverPod.netnsPath), own, 'whatever it gave itself since');
  t.strictSame(kept.sort(), own, 'and nobody keeps it others');
  const steps = counterSteps();
  const [near, far] = await pair.connect(port);
  await near.write('x');
  t.equal(await far.read(1), 'x');
  t.match(steps(), { direct_passed: 1 });

  await t.test('without a guard, what an earlier run left is connected by tunnels', async (t) => {
    const bare = new EbpfCapture(node, KernelCapture.one.options);
    await bare.retain([clientPod.netnsPath, serverPod.netnsPath, '/no/such/file']);
    const steps = counterSteps();
    const [near] = await pair.connect(port);
    t.match(steps(), { outbound_captured: 1, direct_allowed: undefined });
    await near.reset();
    await again.install(clientPod.netnsPath);
    await again.install(serverPod.netnsPath);
  });

  await t.test('and nobody else gets them while it is there', async (t) => {
    const thief = await addStranger(t, serverPod, clientPod.ipv4);
    await t.rejects(capture.install(thief.netnsPath), { code: 'conflict' });
    t.strictSame(addressesOf(thief.netnsPath), []);
    t.ok(addressesOf(clientPod.netnsPath).includes(clientPod.ipv4));
  });
});

await t.test('who gets the address of a server gets no connection of its', async (t) => {
  const pair = await startNode(t);
  const { clientPod, serverPod } = pair;
  await published(pair, closedPort, 'direct');
  const letGo = await holdSyns(clientPod);
  const waiting = clientPod.app.failure(serverPod.ipv4, port);
  const steps = counterSteps();
  for (const until = Date.now() + 3_000; Date.now() < until; ) {
    if ((steps()['direct_allowed'] ?? 0) > 0) {
      break;
    }
  }
  await capture.remove(serverPod.netnsPath);
  const heir = await addStranger(t, clientPod, serverPod.ipv4);
  await heir.app.listen(port);
  await capture.install(heir.netnsPath);
  steps();
  await letGo();
  // By the proxy, which hears that a pod of it left, or by who has the address now.
  const end = await waiting;
  const seen = steps();
  t.match(end, /^ECONN(ABORTED|REFUSED)$/, 'what was authorized before is refused');
  if (end === 'ECONNREFUSED') {
    t.match(seen, { direct_refused_stale: Number, inbound_refused_no_listener: Number });
  }
  t.equal(seen['direct_passed'], undefined);
  t.match(await clientPod.app.failure(serverPod.ipv4, port), /ECONNRESET|0 bytes/);
  const later = steps();
  t.match(later, { outbound_captured: 1 }, 'and what comes after has no verdict');
  t.equal(later['direct_allowed'], undefined);
});

await t.test('who gets the address of a client gets no verdict of its', async (t) => {
  const pair = await startNode(t);
  const { clientPod, serverPod } = pair;
  pair.apply({ policies: [allowClient()] });
  await published(pair, closedPort, 'direct');
  await serverPod.app.listen(port);
  await capture.remove(clientPod.netnsPath);
  const heir = await addStranger(t, serverPod, clientPod.ipv4);
  await capture.install(heir.netnsPath);
  const steps = counterSteps();
  t.equal(await heir.app.failure(serverPod.ipv4, port), 'ECONNREFUSED', 'it has no proxy');
  const seen = steps();
  t.match(seen, { outbound_captured: 1 });
  t.equal(seen['direct_allowed'], undefined);
  await capture.remove(heir.netnsPath);
  t.match(await heir.app.failure(serverPod.ipv4, port), /ECONNRESET|0 bytes/, 'nor an identity');
  t.match(steps(), { inbound_captured: 1 });
});

await t.test('a SYN of before its pod came is a stranger', async (t) => {
  const pair = await MeshPair.start(t, { client: 'bare' });
  const { clientPod, server } = pair;
  await server.app.listen(port);
  pair.apply({ policies: [allowClient()] });
  const letGo = await holdSyns(clientPod);
  const near = clientPod.app.failure(server.ipv4, port);
  const sent = async (): Promise<boolean> =>
    (await run(clientPod, ['ss', '-Htn', 'state', 'syn-sent'])).includes(`:${port}`);
  for (const until = Date.now() + 3_000; !(await sent()) && Date.now() < until; );
  await capture.install(clientPod.netnsPath);
  t.teardown(() => capture.remove(clientPod.netnsPath));
  const steps = counterSteps();
  await letGo();
  t.match(await near, /ECONNRESET|0 bytes/);
  const seen = steps();
  t.match(seen, { inbound_captured: 1 });
  t.equal(seen['direct_passed'], undefined);
});
