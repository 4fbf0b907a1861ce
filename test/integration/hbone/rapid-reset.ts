// SPDX-License-Identifier: Apache-2.0
// A peer that has a certificate asks for an application that is there and takes each request back, at
// once or when it is answered. The application's connections all end, and another peer is served as
// before. Needs root.
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import t, { type Test } from 'tap';
import { allSucceeded, GoodClient } from '../../support/good-client.ts';
import { type BarePod, MeshPair, spiffeId } from '../../support/mesh-pair.ts';
import { identity } from '../../support/peers.ts';

// RFC 9113 section 7.
const enhanceYourCalm = 11;
// H2Limits::lostRequestsPerTickMax; a tick, which is a second at least, renews it.
const lostPerTick = 2000;
// What the peer sends at once, which is as many streams as it may have.
const batch = 200;
const rounds = 10;
const peers = join(import.meta.dirname, '../../peers');
const port = 8090;

t.setTimeout(60_000);

interface Report {
  readonly requests: number;
  readonly seconds: number;
  readonly answered: number;
  readonly ended: boolean;
  readonly goaway: number;
}

interface Count {
  readonly accepted: number;
  readonly open: number;
}

type Child = ChildProcessByStdio<Writable, Readable, null>;

/** A program in a pod that answers in lines of JSON. Ends with the end of its input, or the test. */
class Talk {
  readonly #child: Child;
  readonly #lines: AsyncIterator<string>;
  readonly #closed: Promise<unknown>;

  constructor(t: Test, pod: BarePod, program: string, ...options: readonly string[]) {
    const command = [...pod.inside, '/usr/bin/python3', join(peers, program), ...options];
    const [file = '', ...args] = command;
    this.#child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
    this.#closed = once(this.#child, 'close');
    t.teardown(() => this.end());
  }

  async line(): Promise<unknown> {
    return JSON.parse((await this.#lines.next()).value ?? 'null');
  }

  ask(): Promise<unknown> {
    this.#child.stdin.write('\n');
    return this.line();
  }

  async end(): Promise<void> {
    this.#child.stdin.end();
    await this.#closed;
  }
}

const { clientPod, server, ca } = await MeshPair.start(t, { client: 'bare' });
await server.app.echo(8080);
const census = new Talk(t, server, 'census.py', String(port));
await census.line();
const leaf = await ca.issue(spiffeId('client'));
const otherProof = identity(await ca.issue(spiffeId('other')), ca.rootFile);
const target = ['--connect', `${server.ipv4}:15008`, '--authority', `${server.ipv4}:8080`];
const good = new GoodClient(t, clientPod, [...target, ...otherProof]);

function attack(t: Test, ...options: readonly string[]): Talk {
  const proof = [ca.rootFile, leaf.cert, leaf.key];
  const args = [server.ipv4, '15008', ...proof, `${server.ipv4}:${port}`, ...options];
  return new Talk(t, clientPod, 'resetting_client.py', ...args);
}

/** Asks until the application has no connection; the test's own timeout ends the wait. */
async function accepted(): Promise<number> {
  let count = (await census.ask()) as Count;
  while (count.open > 0) {
    count = (await census.ask()) as Count;
  }
  return count.accepted;
}

/** How many streams there are that began and did not end, by what is open and by what was counted. */
async function streamsLeft(): Promise<{ readonly open: number; readonly counted: bigint }> {
  const { connections } = await server.engine.snapshot();
  const of8090 = connections.filter(({ destinationAddress }) =>
    destinationAddress.endsWith(`:${port}`),
  );
  const { streams_opened: opened = 0n, streams_closed: closed = 0n } = server.engine.counters();
  return { open: of8090.length, counted: opened - closed - BigInt(connections.length) };
}

t.test('requests that are taken back at once end the tunnel', async (t) => {
  allSucceeded(t, await good.rounds());
  const before = server.engine.counters();
  const report = (await attack(t).line()) as Report;
  t.comment(report);
  t.match(report, { ended: true, goaway: enhanceYourCalm });
  t.ok(report.requests > lostPerTick, 'not before the budget was used up');
  const budgets = Math.floor(report.seconds) + 2; // one for each tick, and what was before
  t.ok(report.requests <= budgets * lostPerTick + 2 * batch, 'no more than what ticks renewed');
  const after = server.engine.counters();
  const failed = (after['tunnels_failed_http2'] ?? 0n) - (before['tunnels_failed_http2'] ?? 0n);
  t.equal(failed, 1n);
  const had = await accepted();
  t.ok(had > 0, `the application had ${had} connections and has none`);
  allSucceeded(t, await good.rounds());
});

t.test('those that are answered first do not, and leave nothing open', async (t) => {
  const before = await accepted();
  const client = attack(t, String(rounds));
  const report = (await client.line()) as Report;
  t.comment(report);
  t.match(report, { requests: rounds * batch, answered: rounds * batch, ended: false });
  t.equal((await accepted()) - before, rounds * batch, 'each had a connection, which has ended');
  const { tunnels } = await server.engine.snapshot();
  t.equal(tunnels.filter(({ retiring }) => !retiring).length, 2, 'and not with the tunnel');
  await client.end();
  allSucceeded(t, await good.rounds());
});

t.test('the other peer never noticed', async (t) => {
  allSucceeded(t, await good.end());
  t.strictSame(await streamsLeft(), { open: 0, counted: 0n });
  t.equal(server.engine.counters()['tunnels_accepted'], 3n, 'it had one tunnel all the time');
});
