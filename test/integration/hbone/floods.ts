// SPDX-License-Identifier: Apache-2.0
// A peer that has a certificate and abuses HTTP/2, connection after connection, is told to be calm
// and loses the connection, while the requests of another one all succeed. Needs root.
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { runProgram } from '../../../src/lib/program.ts';
import { allSucceeded, GoodClient } from '../../support/good-client.ts';
import { MeshPair, spiffeId } from '../../support/mesh-pair.ts';
import { identity } from '../../support/peers.ts';

// RFC 9113 section 7.
const enhanceYourCalm = 11;
const hbone = '10.9.0.2:15008';
const floods = 10;
// H2Limits::controlFramesPerTickMax; a tick in the middle of a burst renews it.
const framesPerTick = 1000;
const peers = join(import.meta.dirname, '../../peers');

t.setTimeout(60_000);

interface Flooded {
  readonly goaway: number;
  /** Frames that the server answered. */
  readonly acks: number;
  readonly ended: boolean;
}

const { clientPod, server, ca } = await MeshPair.start(t, { client: 'bare' });
await server.app.echo(8080);
const python = [...clientPod.inside, '/usr/bin/python3'];
const proof = identity(await ca.issue(spiffeId('client')), ca.rootFile);
const otherProof = identity(await ca.issue(spiffeId('other')), ca.rootFile);
const target = ['--connect', hbone, '--authority', '10.9.0.2:8080'];
const good = new GoodClient(t, clientPod, [...target, ...otherProof]);

async function flood(kind: string): Promise<Flooded[]> {
  const options = ['--connect', hbone, ...proof, '--kind', kind, '--times', String(floods)];
  const [file = '', ...args] = [...python, join(peers, 'flooding_client.py'), ...options];
  const { stdout, stderr } = await runProgram(file, args, { timeoutMs: 50_000 });
  t.equal(stderr, '');
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

/** Each connection is ended with the reason; `acksMax` frames of it may have been answered. */
async function endsFlood(t: Test, kind: string, acksMax: number): Promise<void> {
  allSucceeded(t, await good.rounds());
  const before = server.engine.counters();
  const flooded = await flood(kind);
  t.equal(flooded.length, floods);
  for (const { acks, ...end } of flooded) {
    t.strictSame(end, { goaway: enhanceYourCalm, ended: true });
    t.ok(acks <= acksMax, `${acks} frames were answered`);
  }
  allSucceeded(t, await good.rounds());
  const after = server.engine.counters();
  const ended = (after['tunnels_failed_http2'] ?? 0n) - (before['tunnels_failed_http2'] ?? 0n);
  t.equal(ended, BigInt(floods));
}

// What was greeted with is answered, too.
const budget = 2 * framesPerTick + 2;
t.test('PING', (t) => endsFlood(t, 'ping', budget));
t.test('SETTINGS', (t) => endsFlood(t, 'settings', budget));
t.test('CONTINUATION', (t) => endsFlood(t, 'continuation', 1));
t.test('a header list far beyond the limit', (t) => endsFlood(t, 'headers', 1));
t.test('the other peer never noticed', async (t) => {
  allSucceeded(t, await good.end());
  const { tunnels_accepted: accepted } = server.engine.counters();
  t.equal(accepted, BigInt(4 * floods + 1), 'it had one tunnel all the time');
});
