// SPDX-License-Identifier: Apache-2.0
// Records against OpenSSL in both roles: its `k` and `K` commands change keys in the middle of a
// tunnel, with and without asking for ours. Needs root.
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import t, { type Test } from 'tap';
import { Kind } from '../../../native/index.ts';
import { type BarePod, MeshPair, spiffeId } from '../../support/mesh-pair.ts';
import { type LeafFiles, TestCa } from '../../support/test-ca.ts';

const ping = Buffer.from([0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
const pingAck = Buffer.from(ping.with(4, 1));
const preface = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
]);

/** An OpenSSL program in a pod, and all that it has said. */
class OpenSsl {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #closed: Promise<unknown>;
  #said: Buffer = Buffer.alloc(0);
  #heard: () => void = () => {};

  constructor(t: Test, pod: BarePod, leaf: LeafFiles, rootFile: string, args: readonly string[]) {
    const proof = ['-cert', leaf.cert, '-key', leaf.key, '-CAfile', rootFile];
    const [program = '', ...rest] = [...pod.inside, 'openssl', ...args, ...proof];
    this.#child = spawn(program, rest, { stdio: ['pipe', 'pipe', 'pipe'], timeout: 20_000 });
    this.#closed = once(this.#child, 'close');
    this.#child.stdin.on('error', () => {});
    for (const output of [this.#child.stdout, this.#child.stderr]) {
      output.on('data', (chunk: Buffer) => {
        this.#said = Buffer.concat([this.#said, chunk]);
        this.#heard();
      });
    }
    this.#child.on('close', () => this.#heard());
    t.teardown(() => this.stop());
  }

  /** What is written in one piece is read in one: a lone `K` and a newline are a command. */
  say(bytes: string | Buffer): void {
    this.#child.stdin.write(bytes);
  }

  /** Waits until it has said `wanted`, and forgets what came up to there. */
  async hear(wanted: string | Buffer): Promise<void> {
    for (;;) {
      const at = this.#said.indexOf(wanted);
      if (at >= 0) {
        this.#said = this.#said.subarray(at + wanted.length);
        return;
      }
      if (this.#child.exitCode !== null || this.#child.signalCode !== null) {
        throw new Error(`openssl ended: ${this.#said.toString('latin1').slice(-2000)}`);
      }
      await new Promise<void>((resolve) => {
        this.#heard = resolve;
      });
    }
  }

  async stop(): Promise<void> {
    this.#child.kill();
    await this.#closed;
  }
}

t.test('a client of OpenSSL changes keys and asks for ours', async (t) => {
  const { clientPod, server, ca } = await MeshPair.start(t, { client: 'bare' });
  const leaf = await ca.issue(spiffeId('client'));
  for (const suite of ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384']) {
    const connect = ['-connect', '10.9.0.2:15008', '-alpn', 'h2', '-ciphersuites', suite];
    const peer = new OpenSsl(t, clientPod, leaf, ca.rootFile, ['s_client', '-msg', ...connect]);
    await peer.hear('Verify return code: 0 (ok)');
    peer.say(preface);
    for (const command of ['k', 'K', 'K', 'k']) {
      peer.say(ping);
      await peer.hear(pingAck);
      peer.say(`${command}\n`);
      await peer.hear('>>> TLS 1.3, Handshake [length 0005], KeyUpdate');
      peer.say(ping);
      if (command === 'K') {
        await peer.hear('<<< TLS 1.3, Handshake [length 0005], KeyUpdate');
      }
      await peer.hear(pingAck);
    }
    await peer.stop();
  }
  t.equal(server.engine.counters()['tunnels_failed_tls'], 0n);
});

t.test('a client of OpenSSL resumes its session, until the roots change', async (t) => {
  const pair = await MeshPair.start(t, { client: 'bare' });
  const { clientPod, server, ca } = pair;
  const leaf = await ca.issue(spiffeId('client'));
  const file = join(dirname(leaf.cert), 'session.pem');
  const connect = ['s_client', '-connect', '10.9.0.2:15008', '-alpn', 'h2'];
  const open = (...args: string[]): OpenSsl =>
    new OpenSsl(t, clientPod, leaf, ca.rootFile, [...connect, ...args]);
  const first = open('-sess_out', file);
  await first.hear('New, TLSv1.3');
  // The ticket comes before the answer.
  first.say(preface);
  first.say(ping);
  await first.hear(pingAck);
  await first.stop();
  const second = open('-sess_in', file);
  await second.hear('Reused, TLSv1.3');
  second.say(preface);
  second.say(ping);
  await second.hear(pingAck);
  await second.stop();
  // The same identity with one root more.
  const material = await pair.material('server');
  const next = await pair.material('server', await TestCa.create(dirname(file), 'next'));
  server.engine.setIdentity({ ...material, roots: [...material.roots, ...next.roots] });
  const third = open('-sess_in', file);
  await third.hear('New, TLSv1.3');
  await third.stop();
});

t.test('where no session is resumed OpenSSL gets no ticket', async (t) => {
  const engine = { limits: { resumableSessions: 0 } };
  const { clientPod, ca } = await MeshPair.start(t, { client: 'bare', engine });
  const leaf = await ca.issue(spiffeId('client'));
  const file = join(dirname(leaf.cert), 'no-session.pem');
  const connect = ['-connect', '10.9.0.2:15008', '-alpn', 'h2', '-sess_out', file];
  const peer = new OpenSsl(t, clientPod, leaf, ca.rootFile, ['s_client', ...connect]);
  await peer.hear('Verify return code: 0 (ok)');
  peer.say(preface);
  peer.say(ping);
  // A ticket would come before the answer.
  await peer.hear(pingAck);
  await peer.stop();
  t.notOk(existsSync(file));
});

t.test('a server of OpenSSL changes keys and asks for ours', async (t) => {
  const pair = await MeshPair.start(t, { server: 'bare' });
  const leaf = await pair.ca.issue(spiffeId('server'));
  const accept = ['-accept', '15008', '-alpn', 'h2', '-Verify', '1', '-tls1_3', '-msg'];
  const peer = new OpenSsl(t, pair.serverPod, leaf, pair.ca.rootFile, ['s_server', ...accept]);
  await peer.hear('ACCEPT');
  const near = await pair.client.app.connect('10.9.0.2', 8080);
  await near.write('first words');
  await peer.hear('first words');
  for (const command of ['k', 'K', 'K', 'k']) {
    peer.say(`${command}\n`);
    await peer.hear('>>> TLS 1.3, Handshake [length 0005], KeyUpdate');
    if (command === 'K') {
      await peer.hear('<<< TLS 1.3, Handshake [length 0005], KeyUpdate');
    }
    await near.write(`words after ${command}`);
    await peer.hear(`words after ${command}`);
  }
  // What it says to end the session is understood, too.
  peer.say('Q\n');
  t.equal(await near.failure(), 'ECONNRESET');
  const event = await pair.client.events.take(({ kind }) => kind !== Kind.OPENED);
  t.match(event.detail, /closed the tunnel/);
});
