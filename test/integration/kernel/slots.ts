// SPDX-License-Identifier: Apache-2.0
// Slots for direct connections of one pod: what fails gives its own back, those of a pod that has all
// it may have go through the proxy and are not lost, and who ends makes room. Needs root.
process.env['WEFT_TEST_CAPTURE'] = 'ebpf';

import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { ConnectHow } from '../../support/pod-app.ts';

const { KernelCapture } = await import('../../support/kernel-capture.ts');
const { counterSteps } = await import('../../support/kernel-counters.ts');
const { PodApp } = await import('../../support/pod-app.ts');
const { published, run, startNode } = await import('../../support/same-node.ts');

/** WEFT_DIRECTS_MAX. */
const slots = 16_000;
const tooMany = slots + 200;
const port = 8080;
const echoPort = 8081;
const sourcePort = 4001;
const families = ['ipv4', 'ipv6'] as const;

t.setTimeout(150_000);

const pair = await startNode(t);
const { clientPod, serverPod } = pair;
const [one, other] = [clientPod.app, new PodApp(clientPod.netnsPath, KernelCapture.one.apps)];
const room = ['net.core.somaxconn=20000', 'net.ipv4.tcp_max_syn_backlog=20000'];
await run(serverPod, ['sysctl', '-qw', ...room]);
// Nobody accepts them: they wait, open, and take no file of the server's.
for (const each of [port, port + 2]) {
  await serverPod.app.listen(each, { backlog: 20_000 });
}
await serverPod.app.echo(echoPort);
await published(pair, port, 'direct');

/** A byte there and back over a new connection, and whether that was direct. */
async function echoed(test: Test, host: string): Promise<'direct' | 'by the proxy'> {
  const steps = counterSteps();
  const stream = await one.connect(host, echoPort);
  await stream.write('x');
  test.equal(await stream.read(1), 'x', 'it carries data');
  const { direct_passed: passed, direct_full: full, outbound_captured: captured } = steps();
  await stream.reset();
  if (passed === 1) {
    test.strictSame([full, captured], [undefined, undefined]);
    return 'direct';
  }
  test.strictSame([passed, full, captured], [undefined, 1, 1]);
  return 'by the proxy';
}

/** Begins more than there are slots for, and each fails. */
async function failing(
  test: Test,
  host: string,
  error: string,
  how: ConnectHow & { readonly same?: boolean } = {},
): Promise<void> {
  const steps = counterSteps();
  test.strictSame(await one.connectEach(host, port, tooMany, false, how), { [error]: tooMany });
  test.match(steps(), { direct_allowed: tooMany, direct_full: undefined });
}

for (const family of families) {
  const host = serverPod[family];
  const route = ['ip', 'route'];
  const unreachable = ['unreachable', host, 'metric', '1'];

  await t.test(`what fails before its SYN keeps no slot (${family})`, async (t) => {
    await run(clientPod, [...route, 'add', ...unreachable]);
    await failing(t, host, 'EHOSTUNREACH');
    t.comment('and by one socket, again and again');
    await failing(t, host, 'EHOSTUNREACH', { same: true });
    await run(clientPod, [...route, 'del', ...unreachable]);
    t.comment('nor where the port is taken towards that place');
    const taken = await one.connect(host, port, { sourcePort });
    await failing(t, host, 'EADDRNOTAVAIL', { sourcePort });
    await taken.reset();
  });

  await t.test(`nor does one that waits for its first data, in vain (${family})`, async (t) => {
    await run(clientPod, ['sysctl', '-qw', 'net.ipv4.tcp_fastopen=5']);
    const steps = counterSteps();
    const how = { fastOpen: true };
    t.strictSame(await one.connectEach(host, port, tooMany, false, how), { OK: tooMany });
    t.match(steps(), { direct_allowed: tooMany, direct_passed: undefined, direct_full: undefined });
  });
}

for (const family of families) {
  const host = serverPod[family];
  await t.test(`MPTCP takes none, and goes through the proxy (${family})`, async (t) => {
    const steps = counterSteps();
    const stream = await one.connect(host, echoPort, { mptcp: true });
    await stream.write('x');
    t.equal(await stream.read(1), 'x');
    t.match(steps(), { direct_refused_mptcp: 1, outbound_captured: 1, direct_allowed: undefined });
  });
}

await t.test('two processes take all slots at once, and no connection is lost', async (t) => {
  const steps = counterSteps();
  await Promise.all([
    one.connectEach(serverPod.ipv4, port, tooMany / 2, true),
    other.connectEach(serverPod.ipv6, port, tooMany / 2, true),
  ]);
  const over = tooMany - slots;
  t.match(steps(), {
    direct_allowed: slots,
    direct_full: over,
    outbound_captured: over,
    direct_lost: undefined,
    direct_refused_stale: undefined,
    inbound_captured: undefined,
  });
});

for (const family of families) {
  await t.test(`one more goes through the proxy, until one ends (${family})`, async (t) => {
    const host = serverPod[family];
    t.equal(await echoed(t, host), 'by the proxy');
    await one.drop(1);
    t.equal(await echoed(t, host), 'direct');
    t.comment('it ended, too, and another takes its slot');
    await one.connectEach(host, port, 1, true);
    t.equal(await echoed(t, host), 'by the proxy');
  });
}

await t.test('those of a process that died make room for another', async (t) => {
  await run(clientPod, ['sysctl', '-qw', 'net.ipv4.tcp_fin_timeout=2']);
  await other.stop();
  await one.drop();
  // The kernel keeps a socket for so long whose FIN was acknowledged in the moment of its close.
  const taken = (): number => pair.client.engine.captureStats().directSlots;
  for (const until = Date.now() + 60_000; taken() > 0 && Date.now() < until; await delay(20));
  t.equal(taken(), 0, 'all are given back');
  const steps = counterSteps();
  await one.connectEach(serverPod.ipv4, port + 2, slots, true);
  t.match(steps(), { direct_allowed: slots, direct_full: undefined });
});
