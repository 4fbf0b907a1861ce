// SPDX-License-Identifier: Apache-2.0
// An agent whose maps have another layout takes over from one that is running: what is open goes on,
// what is captured and denied stays so at each moment, and an agent that is killed on the way leaves
// what the next one finishes. A kernel that shows no program the sockets of a map cannot hand over
// listeners: there what arrives is refused, and nothing passes. Needs root, clang and a C compiler.
process.env['WEFT_TEST_CAPTURE'] = 'ebpf';

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { dependencyPrefix } from '../../../scripts/deps.ts';
import { buildNextLayout } from '../../../scripts/next-layout.ts';
import { mustRun } from '../../../src/lib/program.ts';
import type { AppStream, PodApp } from '../../support/pod-app.ts';
import { lackingHere } from '../../support/this-kernel.ts';

const { KernelCapture } = await import('../../support/kernel-capture.ts');
const { denyPort, published, run, startNode } = await import('../../support/same-node.ts');
const { addStranger } = await import('../../support/stranger.ts');

const support = join(import.meta.dirname, '../../support');
const port = 8080;
const deniedPort = 8081;
const outsidePort = 9000;
/** Every so many steps of an agent's one is killed. */
const stride = 4;

/** Lets only the proxy, by its mark, out of a pod to that port. */
const onlyProxy = `table inet only { chain out { type filter hook output priority 0;
  tcp dport ${outsidePort} meta mark & 0xfff != 0x539 reject with tcp reset; }; }`;

const lacking = (await lackingHere()).get('iter_sockmap');
const areCarried = lacking === undefined;
if (!areCarried) {
  t.comment(`listeners are not carried over by this kernel: ${lacking}`);
}

t.setTimeout(200_000);

interface Agent {
  readonly child: ChildProcess;
  /** What it had to say on standard error. */
  said(): string;
}

function startAgent(test: Test, addon: string | undefined, env: Record<string, string>): Agent {
  const options = JSON.stringify({ ...KernelCapture.one.options, addon });
  const { WEFT_TEST_CAPTURE: _, ...inherited } = process.env;
  const child = spawn(process.execPath, [join(support, 'capture-process.ts'), options], {
    env: { ...inherited, ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let text = '';
  child.stderr.on('data', (data: Buffer) => {
    text += data.toString();
  });
  test.teardown(() => child.kill('SIGKILL'));
  return { child, said: () => text };
}

/** What an agent's programs counted. */
async function countersOf({ child }: Agent): Promise<Record<string, number>> {
  const answer = child.stdout === null ? undefined : once(child.stdout, 'data');
  child.stdin?.write('\n');
  return JSON.parse(String(await answer));
}

/** One agent from its start until it is ready, which ends then; how many steps it took. */
async function takeOver(
  test: Test,
  addon: string | undefined,
  preload: string,
  meanwhile: (agent: Agent) => Promise<void> = async () => undefined,
): Promise<number> {
  const agent = startAgent(test, addon, { LD_PRELOAD: preload });
  const ended = once(agent.child, 'close');
  if (agent.child.stdout !== null) {
    await Promise.race([once(agent.child.stdout, 'data'), ended]);
  }
  if (agent.child.exitCode === null) {
    await meanwhile(agent);
  }
  agent.child.stdin?.end();
  await ended;
  test.equal(agent.child.exitCode, 0, agent.said());
  return Number(/steps (\d+)/.exec(agent.said())?.[1]);
}

async function killAt(
  test: Test,
  addon: string | undefined,
  preload: string,
  step: number,
): Promise<void> {
  const agent = startAgent(test, addon, { LD_PRELOAD: preload, KILL_AT: String(step) });
  await once(agent.child, 'close');
  test.equal(agent.child.signalCode, 'SIGKILL', `killed at step ${step}`);
}

/** A byte there and back by a new connection: `ok`, or how that failed. */
async function echoes(app: PodApp, host: string, at: number): Promise<string> {
  try {
    const stream = await app.connect(host, at);
    await stream.write('x');
    const text = await stream.read(1);
    await stream.end();
    return text === 'x' ? 'ok' : 'ended early';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Two pods with one open connection past the proxy, and one through it to a stranger. */
class Traffic {
  readonly #client: PodApp;
  readonly #server: PodApp;
  readonly #stranger: PodApp;
  readonly #open: readonly AppStream[];
  readonly #to: { readonly server: string; readonly outside: string };
  #watching = true;

  private constructor(
    client: PodApp,
    server: PodApp,
    stranger: PodApp,
    open: readonly AppStream[],
    to: { readonly server: string; readonly outside: string },
  ) {
    this.#client = client;
    this.#server = server;
    this.#stranger = stranger;
    this.#open = open;
    this.#to = to;
  }

  static async start(test: Test): Promise<Traffic> {
    const pair = await startNode(test);
    const { clientPod, serverPod } = pair;
    const outside = await addStranger(test, serverPod);
    await serverPod.app.echo(port);
    await serverPod.app.listen(deniedPort);
    await outside.app.echo(outsidePort);
    await run(serverPod, ['nft', '-f', '-'], onlyProxy);
    pair.apply({ policies: [denyPort(deniedPort)] });
    await published(pair, port, 'direct');
    await published(pair, deniedPort, 'refused');
    const open = [
      await clientPod.app.connect(serverPod.ipv4, port),
      await serverPod.app.connect(outside.ipv4, outsidePort),
    ];
    const to = { server: serverPod.ipv4, outside: outside.ipv4 };
    return new Traffic(clientPod.app, serverPod.app, outside.app, open, to);
  }

  /** New connections: one of each kind. */
  async each(test: Test): Promise<void> {
    const { server, outside } = this.#to;
    test.equal(await this.#client.failure(server, deniedPort), 'ECONNREFUSED');
    test.equal(await echoes(this.#client, server, port), 'ok');
    test.equal(await echoes(this.#server, outside, outsidePort), 'ok');
    const arrived = await echoes(this.#stranger, server, port);
    test.equal(arrived, areCarried ? 'ok' : 'ECONNREFUSED');
  }

  /** What is open goes on. */
  async check(test: Test, when: string): Promise<void> {
    for (const stream of this.#open) {
      await stream.write('x');
      test.equal(await stream.read(1), 'x', when);
    }
  }

  /**
   * Until `stop`: how often connections ended in which way: those that are denied, those that go past
   * the proxy, those that it has to take on their way out, and those that come in.
   */
  async watch(): Promise<
    Record<'denied' | 'direct' | 'captured' | 'arriving', Record<string, number>>
  > {
    const [client, server] = [this.#client, this.#server];
    const seen = { denied: {}, direct: {}, captured: {}, arriving: {} };
    const count = (to: Record<string, number>, how: string): void => {
      to[how] = (to[how] ?? 0) + 1;
    };
    while (this.#watching) {
      count(seen.denied, await client.failure(this.#to.server, deniedPort));
      count(seen.direct, await echoes(client, this.#to.server, port));
      count(seen.captured, await echoes(server, this.#to.outside, outsidePort));
      count(seen.arriving, await echoes(this.#stranger, this.#to.server, port));
    }
    return seen;
  }

  stop(): void {
    this.#watching = false;
  }
}

await t.test('a change of layout', async (t) => {
  const addon = await buildNextLayout(await dependencyPrefix());
  const folder = mkdtempSync(join(tmpdir(), 'weft-kill-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const preload = join(folder, 'kill_at_bpf.so');
  const source = join(support, 'kill_at_bpf.c');
  await mustRun('cc', ['-shared', '-fPIC', '-O1', '-o', preload, source, '-ldl']);
  const traffic = await Traffic.start(t);
  const watched = traffic.watch();
  const layouts = (): string[] =>
    readdirSync(KernelCapture.one.pins).filter((name) => name.startsWith('v'));

  const steps: number[] = [];
  for (const [title, to, folder] of [
    ['to a later one', addon, 'v1000'],
    ['and back', undefined, 'v2'],
  ] as const) {
    await t.test(title, async (t) => {
      await traffic.check(t, 'before');
      const taken = takeOver(t, to, preload, async (agent) => {
        const before = await countersOf(agent);
        await traffic.each(t);
        const after = await countersOf(agent);
        const step = (name: string): number => (after[name] ?? 0) - (before[name] ?? 0);
        for (const way of ['direct_passed', 'direct_denied', 'outbound_captured']) {
          t.ok(step(way) > 0, way);
        }
        t.equal(step('inbound_captured') > 0, areCarried, 'listeners were carried over, too');
      });
      steps.push(await taken);
      t.strictSame(layouts(), [folder], 'nothing of the other layout is left');
      await traffic.check(t, 'after');
    });
  }

  await t.test('an agent that is killed on the way leaves a node that works', async (t) => {
    let current = 0;
    const agents = [undefined, addon];
    for (let step = 1; step <= Math.min(...steps); step += stride) {
      const next = agents[1 - current];
      await killAt(t, next, preload, step);
      await takeOver(t, next, preload);
      current = 1 - current;
      t.strictSame(layouts(), [current === 0 ? 'v2' : 'v1000']);
      await traffic.check(t, `after step ${step}`);
    }
    if (current !== 0) {
      await takeOver(t, agents[0], preload);
    }
  });

  traffic.stop();
  const { denied, direct, captured, arriving } = await watched;
  t.strictSame(Object.keys(denied), ['ECONNREFUSED'], JSON.stringify(denied));
  t.strictSame(Object.keys(captured), ['ok'], JSON.stringify(captured));
  if (areCarried) {
    t.strictSame(Object.keys(direct), ['ok'], JSON.stringify(direct));
    t.strictSame(Object.keys(arriving), ['ok'], JSON.stringify(arriving));
  } else {
    // What is on its way while tables change is taken for a stranger's.
    const known = ['ok', 'ECONNREFUSED'];
    t.strictSame(Object.keys(arriving), known, JSON.stringify(arriving));
    t.ok(
      Object.keys(direct).every((how) => known.includes(how)),
      JSON.stringify(direct),
    );
  }
});
