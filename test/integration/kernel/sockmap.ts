// SPDX-License-Identifier: Apache-2.0
// Direct connections past TCP: real namespaces, programs and engines, and agents that are killed. The
// gates are gone past, but in the first test. Needs root.
process.env['WEFT_TEST_CAPTURE'] = 'ebpf';

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { trySockmapGates } from '../../../native/capture.ts';
import { Direction, Kind } from '../../../native/index.ts';
import { EbpfCapture } from '../../../src/cni/capture-ebpf.ts';
import type { Guard } from '../../../src/cni/guard.ts';
import { Sockmap } from '../../../src/cni/sockmap.ts';
import { mustRun } from '../../../src/lib/program.ts';
import type { MeshPair } from '../../support/mesh-pair.ts';

const { KernelCapture } = await import('../../support/kernel-capture.ts');
const { countOf: count, counterSteps } = await import('../../support/kernel-counters.ts');
const { denyPort, published, startNode } = await import('../../support/same-node.ts');

const port = 8080;
const program = join(import.meta.dirname, '../../support/sockmap-process.ts');

/** As counterSteps(), of this tier alone: what else the pods do comes when it likes. */
function tierSteps(): () => Record<string, number> {
  const steps = counterSteps();
  return () =>
    Object.fromEntries(Object.entries(steps()).filter(([name]) => name.startsWith('sockmap')));
}

/** Both pods, with the tier or without. */
function setTier({ clientPod, serverPod }: MeshPair, client: boolean, server: boolean): void {
  const { node } = KernelCapture.one;
  for (const [pod, sockmap] of [
    [clientPod, client],
    [serverPod, server],
  ] as const) {
    const netns = openSync(pod.netnsPath, 'r');
    node.enrol(netns, node.addresses(netns), true, sockmap);
    closeSync(netns);
  }
}

/** Ends with the test, or when it is killed. */
class Agent {
  readonly #child: ChildProcess;

  constructor(test: Test, { clientPod, serverPod }: MeshPair) {
    const args = [JSON.stringify(KernelCapture.one.options)];
    const paths = [clientPod.netnsPath, serverPod.netnsPath];
    this.#child = spawn(process.execPath, [program, ...args, ...paths], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    test.teardown(() => this.#child.kill('SIGKILL'));
  }

  /** Resolves when it went over all connections. */
  async promote(): Promise<void> {
    this.#child.stdin?.write('\n');
    await once(this.#child.stdout ?? this.#child, 'data');
  }

  async kill(): Promise<void> {
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }
}

await t.test('a pod that asks gets the tier, or is told which gates refuse it', async (t) => {
  const pair = await startNode(t);
  const { node, options } = KernelCapture.one;
  const failed = trySockmapGates().filter(({ ok }) => !ok);
  const logged: unknown[][] = [];
  const note = (...line: unknown[]): number => logged.push(line);
  const log = { error: note, warn: note, info: note };
  const guard = { add: async () => undefined, remove: async () => undefined } as unknown as Guard;
  const tier = new Sockmap(options, log);
  const capture = new EbpfCapture(node, options, guard, log, { tier, usual: 'none' });
  await capture.install(pair.serverPod.netnsPath);
  t.strictSame(logged, [], 'one that does not ask hears nothing');
  await capture.install(pair.clientPod.netnsPath, { bypass: 'sockmap' });
  t.teardown(() => tier.remove(pair.clientPod.netnsPath));
  const names = failed.map(({ name }) => name);
  t.strictSame(pair.client.engine.captureStats().sockmapRefused, names);
  t.equal(logged.length, failed.length === 0 ? 0 : 1);
  for (const { name, reason } of failed) {
    t.ok(JSON.stringify(logged).includes(JSON.stringify(`${name} (${reason})`).slice(1, -1)), name);
  }
  await pair.serverPod.app.echo(port);
  await published(pair, port, 'direct');
  const near = await pair.clientPod.app.connect(pair.serverPod.ipv4, port);
  await near.write('hello');
  t.equal(await near.read(5), 'hello', 'its connections are direct in any case');
});

await t.test('connections of two pods that both ask', async (t) => {
  const pair = await startNode(t);
  const { clientPod, serverPod } = pair;
  const { events } = pair.client;
  await serverPod.app.listen(port);
  await serverPod.app.echo(port + 1);
  await published(pair, port + 1, 'direct');
  const agent = new Agent(t, pair);

  for (const [client, server] of [
    [false, true],
    [true, false],
  ] as const) {
    await t.test(`stay with TCP when only one does (client: ${client})`, async (t) => {
      setTier(pair, client, server);
      const [near, far] = await pair.connect(port);
      const steps = tierSteps();
      await agent.promote();
      await near.write('hello');
      t.equal(await far.read(5), 'hello');
      t.strictSame(steps(), {});
      await near.end();
      await far.end();
    });
  }
  setTier(pair, true, true);

  for (const family of ['ipv4', 'ipv6'] as const) {
    await t.test(`go past TCP, and all their bytes are told (${family})`, async (t) => {
      const [near, far] = await pair.connect(port, serverPod[family]);
      await near.write('by TCP');
      t.equal(await far.read(6), 'by TCP');
      const steps = tierSteps();
      await agent.promote();
      await near.write('past it');
      t.equal(await far.read(7), 'past it');
      await far.write('an answer');
      t.equal(await near.read(9), 'an answer');
      t.strictSame(steps(), { sockmap_enrolled: 2, sockmap_redirected_bytes: 16 });
      await far.end();
      await near.readAll();
      await near.end();
      const source = new RegExp(`:${near.local[1]}$`);
      const closed = await events.take(({ kind, direction, sourceAddress }) => {
        const isOurs = source.test(sourceAddress) && direction === Direction.OUTBOUND;
        return isOurs && kind === Kind.CLOSED;
      });
      t.match(closed, { bytesSent: 13n, bytesReceived: 9n });
    });
  }

  await t.test('may have no layer over TCP then', async (t) => {
    const other = await clientPod.app.connect(serverPod.ipv4, port + 1);
    await agent.promote();
    const fresh = await clientPod.app.connect(serverPod.ipv4, port + 1);
    await t.rejects(other.setLayer('tls'), { message: 'EPERM' });
    t.equal(count('sockmap_ulp_denied'), 1);
    const why = await fresh.setLayer('tls').then(
      () => '',
      ({ message }: Error) => message,
    );
    t.not(why, 'EPERM', 'others may, where the kernel has it');
  });

  await t.test('are cut by policy like any other', async (t) => {
    await serverPod.app.listen(port + 2);
    const [near, far] = await pair.connect(port + 2);
    await agent.promote();
    await near.write('past TCP');
    await far.read(8);
    pair.apply({ policies: [denyPort(port + 2)] });
    t.match(await near.failure(), /ECONNABORTED|ECONNRESET/);
    t.match(await far.failure(), /ECONNABORTED|ECONNRESET/);
  });

  await t.test('go on when the agent is killed, and the next one takes them over', async (t) => {
    const [near, far] = await pair.connect(port);
    await agent.promote();
    await agent.kill();
    const before = count('sockmap_redirected_bytes');
    const sent = near.writeRandom(4 << 20);
    const received = far.readAll();
    await sent;
    await near.end();
    t.equal((await received).receivedSha256, (await sent).sentSha256);
    t.ok(count('sockmap_redirected_bytes') > before, 'with nobody there');
    const next = new Agent(t, pair);
    const steps = tierSteps();
    const [second, third] = await pair.connect(port);
    await next.promote();
    await second.write('again');
    t.equal(await third.read(5), 'again');
    await far.write('and still');
    t.equal(await near.read(9), 'and still');
    t.match(steps(), { sockmap_redirected_bytes: 14 }, 'the old one, and a new one');
  });
});

await t.test('nothing overtakes on a slow link, when both ends come in at once', async (t) => {
  const pair = await startNode(t);
  const { clientPod, serverPod } = pair;
  setTier(pair, true, true);
  await serverPod.app.listen(port);
  await serverPod.app.echo(port + 1);
  await published(pair, port + 1, 'direct');
  const [nsenter = '', ...inside] = clientPod.inside;
  const shape = 'dev eth0 root tbf rate 600kbit burst 2kb latency 1s'.split(' ');
  await mustRun(nsenter, [...inside, 'tc', 'qdisc', 'add', ...shape]);
  const agent = new Agent(t, pair);
  const steps = tierSteps();
  for (let round = 0; round < 20; round++) {
    const [near, far] = await pair.connect(port);
    // On its way for a while when the rest is said.
    await near.writeRandom(4000);
    await agent.promote();
    await near.writeRandom(100);
    const sent = await near.writeRandom(100);
    await near.end();
    t.equal((await far.readAll()).receivedSha256, sent.sentSha256);
    await far.end();
  }
  t.match(steps(), { sockmap_enrolled: 40 });
});
