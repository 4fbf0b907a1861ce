// SPDX-License-Identifier: Apache-2.0
// What becomes of captured connections when the proxy hangs, or is gone. Needs root.
process.env['WEFT_TEST_CAPTURE'] = 'ebpf';

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { MeshPair as Pair } from '../../support/mesh-pair.ts';

const { KernelCapture } = await import('../../support/kernel-capture.ts');
const { counterSteps } = await import('../../support/kernel-counters.ts');
const { MeshPair } = await import('../../support/mesh-pair.ts');

const program = join(import.meta.dirname, '../../support/engine-process.ts');
const port = 8080;
const dnsPort = 53;
/** WEFT_STALE_NS, and how often the proxy says that it lives. */
const staleMs = 5_000;
const beatMs = 1_000;
/** What a busy machine may add to either. */
const lateMs = 2_000;

async function startProxy(test: Test, netnsPath: string): Promise<ChildProcess> {
  const { WEFT_TEST_CAPTURE: _, ...env } = process.env;
  const child = spawn(process.execPath, [program, KernelCapture.one.pins, netnsPath], {
    env,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  test.teardown(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  return child;
}

async function kill(child: ChildProcess): Promise<void> {
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

/** A captured client, and a server outside the mesh that sends back what comes. */
async function startPods(test: Test): Promise<Pair> {
  const pair = await MeshPair.start(test, { client: 'bare', server: 'bare' });
  const { netnsPath } = pair.clientPod;
  await KernelCapture.one.capture.install(netnsPath);
  test.teardown(() => KernelCapture.one.capture.giveWay(netnsPath));
  await pair.serverPod.app.echo(port);
  return pair;
}

function setWhenDown(whenProxyDown: 'refuse' | 'pass'): void {
  const { node, options } = KernelCapture.one;
  node.configure({ ...options, whenProxyDown });
}

/** A byte there and back. */
async function echoes(test: Test, { clientPod, serverPod }: Pair, how: string): Promise<void> {
  const stream = await clientPod.app.connect(serverPod.ipv4, port);
  await stream.write('x');
  test.equal(await stream.read(1), 'x', how);
  await stream.end();
}

/** How often each way a connection can end came, one begun every 50 ms, until `last` came. */
async function connectUntil(
  { clientPod, serverPod }: Pair,
  last: string,
): Promise<Record<string, number>> {
  const seen: Record<string, number> = {};
  const steps = counterSteps();
  for (const until = Date.now() + 2 * staleMs; Date.now() < until; await delay(50)) {
    await clientPod.app.connectEach(serverPod.ipv4, port, 1);
    for (const [name, step] of Object.entries(steps())) {
      seen[name] = (seen[name] ?? 0) + step;
    }
    if (seen[last] !== undefined) {
      return seen;
    }
  }
  throw new Error(`no connection was ${last}: ${JSON.stringify(seen)}`);
}

await t.test('a proxy that hangs is taken for dead, and comes back', async (t) => {
  const pair = await startPods(t);
  const { clientPod, serverPod } = pair;
  const proxy = await startProxy(t, clientPod.netnsPath);
  await echoes(t, pair, 'carried');

  await t.test('not while it may only be busy', async (t) => {
    proxy.kill('SIGSTOP');
    const begun = Date.now();
    const waiting = await clientPod.app.connect(serverPod.ipv4, port);
    await waiting.write('late');
    const seen = await connectUntil(pair, 'outbound_refused_down');
    const took = Date.now() - begun;
    t.ok(took > staleMs - beatMs - 100 && took < staleMs + lateMs, `after ${took} ms`);
    t.ok((seen['outbound_captured'] ?? 0) > 10, 'captured before');
    t.equal(await clientPod.app.failure(serverPod.ipv4, port), 'ECONNREFUSED');
    t.equal(await clientPod.app.failure(serverPod.ipv6, port), 'ECONNREFUSED');
    const steps = counterSteps();
    t.equal(await serverPod.app.failure(clientPod.ipv4, port), 'ECONNREFUSED');
    t.match(steps(), { inbound_refused_down: 1 });
    proxy.kill('SIGCONT');
    t.equal(await waiting.read(4), 'late', 'what it had taken is carried');
  });

  await t.test('it is used again as soon as it says that it lives', async (t) => {
    const begun = Date.now();
    await connectUntil(pair, 'outbound_captured');
    t.ok(Date.now() - begun < beatMs + lateMs);
    await echoes(t, pair, 'carried');
  });

  await t.test('where the node says so, what pods open passes by', async (t) => {
    setWhenDown('pass');
    t.teardown(() => setWhenDown('refuse'));
    proxy.kill('SIGSTOP');
    await connectUntil(pair, 'outbound_passed_down');
    await echoes(t, pair, 'past the proxy');
    proxy.kill('SIGCONT');
    await connectUntil(pair, 'outbound_captured');
  });
});

await t.test('without a proxy', async (t) => {
  const pair = await startPods(t);
  const { clientPod, serverPod } = pair;
  const steps = counterSteps();

  await t.test('what pods open is refused', async (t) => {
    await kill(await startProxy(t, clientPod.netnsPath));
    t.equal(await clientPod.app.failure(serverPod.ipv4, port), 'ECONNREFUSED');
    t.equal(steps()['outbound_passed_down'], undefined);
  });

  await t.test('or passes, names too, and what comes in does not', async (t) => {
    setWhenDown('pass');
    t.teardown(() => setWhenDown('refuse'));
    await serverPod.app.listen(port + 1);
    for (const family of ['ipv4', 'ipv6'] as const) {
      const near = await clientPod.app.connect(serverPod[family], port + 1);
      const far = await serverPod.app.accept(port + 1);
      t.equal(far.peer[0].replace('::ffff:', ''), clientPod[family], 'from its own address');
      t.strictSame(near.peer, [serverPod[family], port + 1]);
    }
    t.match(steps(), { outbound_passed_down: 2 });
    const asked = clientPod.app.question(serverPod.ipv4, dnsPort, 'x', true);
    await t.rejects(asked, 'nobody answers there');
    const seen = steps();
    t.match(seen, { dns_passed_down: 1 });
    t.equal(seen['dns_captured'], undefined);
    await clientPod.app.listen(port);
    t.equal(await serverPod.app.failure(clientPod.ipv4, port), 'ECONNREFUSED');
    const { inbound_refused_no_listener: gone = 0, inbound_refused_down: stale = 0 } = steps();
    t.equal(gone + stale, 1);
  });

  await t.test('and is captured again by the next', async (t) => {
    setWhenDown('pass');
    t.teardown(() => setWhenDown('refuse'));
    await startProxy(t, clientPod.netnsPath);
    await echoes(t, pair, 'carried');
    t.match(steps(), { outbound_captured: 1 });
  });
});
