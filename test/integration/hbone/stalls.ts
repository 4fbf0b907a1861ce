// SPDX-License-Identifier: Apache-2.0
// A peer that has a certificate, asks an application that sends without end, and takes nothing of it.
// Its streams are reset, at both ends, after a time that is set; idle ones, one that is read slowly
// and those of another peer are not. Time is the subject here. Needs root.
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import t, { type Test } from 'tap';
import { Kind, Reason } from '../../../native/index.ts';
import { mustRun } from '../../../src/lib/program.ts';
import { allSucceeded, GoodClient } from '../../support/good-client.ts';
import { MeshPair, socketBytesMax, spiffeId } from '../../support/mesh-pair.ts';
import { identity } from '../../support/peers.ts';

// RFC 9113 section 7.
const connectError = 10;
const stalledMs = 1_500;
// They are looked at once a second: to see that bytes wait, and that they have for too long.
const lookMs = 1_000;
const streams = 50;
const port = 9100;
const peers = join(import.meta.dirname, '../../peers');
const python = '/usr/bin/python3';

t.setTimeout(60_000);

interface StreamEnd {
  readonly bytes: number;
  readonly reset: number | null;
  readonly seconds: number | null;
}

interface Report {
  readonly stalled: readonly StreamEnd[];
  readonly slow: readonly StreamEnd[];
  readonly idle: readonly StreamEnd[];
  readonly goaway: number | null;
  readonly ended: boolean;
}

const { clientPod, server, ca } = await MeshPair.start(t, {
  client: 'bare',
  engine: { stalledMs },
});
await server.app.echo(8080);
const proof = identity(await ca.issue(spiffeId('client')), ca.rootFile);
const otherProof = identity(await ca.issue(spiffeId('other')), ca.rootFile);
const hbone = ['--connect', `${server.ipv4}:15008`];
const echo = `${server.ipv4}:8080`;
const good = new GoodClient(t, clientPod, [...hbone, '--authority', echo, ...otherProof]);

type Child = ChildProcessByStdio<Writable, Readable, null>;

function start(
  t: Test,
  command: readonly string[],
): { child: Child; lines: AsyncIterator<string> } {
  const [file = '', ...args] = command;
  const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const closed = once(child, 'close');
  t.teardown(async () => {
    child.kill();
    await closed;
  });
  return { child, lines: createInterface({ input: child.stdout })[Symbol.asyncIterator]() };
}

const pour = start(t, [...server.inside, python, join(peers, 'pour.py'), String(port)]);
await pour.lines.next();

interface Sockets {
  readonly count: number;
  /** In their receive queues, and in their send queues. */
  readonly received: number;
  readonly unsent: number;
}

/** The ends that belong to the pouring application, or to the proxy. */
async function socketsOf(end: 'application' | 'proxy'): Promise<Sockets> {
  const filter = `${end === 'application' ? 'sport' : 'dport'} = :${port}`;
  const command = ['ss', '-Htn', 'state', 'connected', filter];
  const out = await mustRun('nsenter', [`--net=${server.netnsPath}`, '--', ...command]);
  const rows = out.split('\n').filter((line) => line !== '');
  // State, Recv-Q, Send-Q.
  const sum = (column: number): number =>
    rows.reduce((all, row) => all + Number(row.split(/\s+/)[column]), 0);
  return { count: rows.length, received: sum(1), unsent: sum(2) };
}

/** Opens the streams, and waits until as many as stall were ended for it. */
async function stall(t: Test, window: number, others: readonly string[]): Promise<Report> {
  const what = ['--authority', `${server.ipv4}:${port}`, '--window', String(window)];
  const options = [...hbone, ...proof, ...what, '--stalled', String(streams), ...others];
  const program = [...clientPod.inside, python, join(peers, 'stalling_client.py')];
  const rss = process.memoryUsage.rss();
  const { child, lines } = start(t, [...program, ...options]);
  const { answered } = JSON.parse((await lines.next()).value ?? '{}');
  t.ok(answered >= streams, `${answered} streams were answered`);
  const [held, sent] = await Promise.all([socketsOf('proxy'), socketsOf('application')]);
  t.comment({ held, sent, grown: process.memoryUsage.rss() - rss });
  t.equal(held.count, answered - (others.includes('--idle') ? 2 : 0));
  t.ok(held.received <= held.count * socketBytesMax, 'what is held for them is in their sockets');
  for (let i = 0; i < streams; i += 1) {
    const { detail } = await server.events.take(
      ({ kind, reason }) => kind === Kind.CLOSED && reason === Reason.LIMIT,
    );
    t.match(detail, /^the peer granted no window for \d+ ms$/);
  }
  child.stdin.end();
  return JSON.parse((await lines.next()).value ?? '{}');
}

function allReset(t: Test, { stalled }: Report): void {
  t.strictSame([...new Set(stalled.map(({ reset }) => reset))], [connectError]);
  const seconds = stalled.map(({ seconds }) => seconds ?? 0);
  const [first, last] = [Math.min(...seconds), Math.max(...seconds)];
  t.ok(first * 1000 >= stalledMs - lookMs, `the first one after ${first} s`);
  t.ok(last * 1000 <= stalledMs + 4 * lookMs, `the last one after ${last} s`);
}

async function applicationIsFree(t: Test): Promise<void> {
  let left = await socketsOf('application');
  while (left.count > 0) {
    left = await socketsOf('application');
  }
  t.pass('the application has no connection left');
}

t.test('streams without a window from the start', async (t) => {
  allSucceeded(t, await good.rounds());
  const others = ['--slow', '1', '--idle', '2', '--quiet', echo];
  const report = await stall(t, 0, others);
  allReset(t, report);
  t.strictSame([...new Set(report.stalled.map(({ bytes }) => bytes))], [0]);
  t.match(report, { goaway: null, ended: false }, 'the tunnel goes on');
  t.strictSame(
    report.idle.map(({ bytes, reset, seconds }) => [bytes, reset, seconds]),
    [
      [0, null, null],
      [0, null, null],
    ],
    'nothing was to be sent on those',
  );
  const [slow] = report.slow;
  t.match(slow, { reset: null, seconds: null }, 'a slow reader grants some');
  t.ok((slow?.bytes ?? 0) > 0, `${slow?.bytes} bytes`);
  allSucceeded(t, await good.rounds());
  await applicationIsFree(t);
});

t.test('streams of a connection whose window is never given back', async (t) => {
  const report = await stall(t, 65_535, ['--idle', '2', '--quiet', echo]);
  allReset(t, report);
  const bytes = report.stalled.reduce((sum, each) => sum + each.bytes, 0);
  t.equal(bytes, 65_535, 'the first window of the connection, and no more');
  t.match(report, { goaway: null, ended: false });
  t.strictSame([...new Set(report.idle.map(({ seconds }) => seconds))], [null]);
  allSucceeded(t, await good.rounds());
  await applicationIsFree(t);
});

t.test('the other peer never noticed', async (t) => {
  allSucceeded(t, await good.end());
  t.equal(server.engine.counters()['tunnels_accepted'], 3n, 'it had one tunnel all the time');
});
