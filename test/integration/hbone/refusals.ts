// SPDX-License-Identifier: Apache-2.0
// Whoever comes to the HBONE port without a right to it is told so by TLS, counted and reported,
// and does not disturb the others. The peers are OpenSSL's s_client and bare sockets. Needs root.
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import t, { type Test } from 'tap';
import { Direction, Kind, Reason } from '../../../native/index.ts';
import { runProgram } from '../../../src/lib/program.ts';
import { MeshPair, spiffeId } from '../../support/mesh-pair.ts';
import { HboneClient, identity } from '../../support/peers.ts';
import { type LeafFiles, TestCa } from '../../support/test-ca.ts';

// RFC 8446 section 6.
const alerts = {
  unexpectedMessage: 10,
  badCertificate: 42,
  unsupportedCertificate: 43,
  certificateExpired: 45, // "or is not currently valid"
  unknownCa: 48,
  decodeError: 50,
  protocolVersion: 70,
  certificateRequired: 116,
  noApplicationProtocol: 120,
};

const hbone = '10.9.0.2:15008';
const client = spiffeId('client');
// Far more than is discarded for a refused peer, and what the kernel buffers on the way to that.
const socketsHold = 16 << 20;
// A reset, and what Python's ssl makes of one.
const cutOff = /^(ECONNRESET|EPIPE|SSLEOFError)$/;

const pair = await MeshPair.start(t, { client: 'bare', engine: { handshakeTimeoutMs: 1000 } });
const { clientPod, server, ca } = pair;
await server.app.echo(8080);
const good = await ca.issue(client);

/** OpenSSL's client, which waits for the server to end it; all it said. */
async function tls(...options: string[]): Promise<string> {
  const command = ['openssl', 's_client', '-connect', hbone, '-CAfile', ca.rootFile, ...options];
  const [program, ...rest] = [...clientPod.inside, ...command];
  const child: ChildProcessByStdio<Writable, Readable, Readable> = spawn(program ?? '', rest, {
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout: 8000,
  });
  const said: Buffer[] = [];
  for (const output of [child.stdout, child.stderr]) {
    output.on('data', (chunk) => said.push(chunk));
  }
  // Its input stays open: at the end of that it would leave before the alert comes.
  await once(child, 'close');
  return Buffer.concat(said).toString();
}

function prove(leaf: LeafFiles): string[] {
  return ['-cert', leaf.cert, '-key', leaf.key];
}

/** What bytes the server answers to bytes which are not TLS, in hexadecimal. */
async function answerTo(text: string): Promise<string> {
  const stream = await clientPod.app.connect(server.ipv4, 15008);
  await stream.write(text);
  const { text: answer } = await stream.readAll();
  return Buffer.from(answer, 'latin1').toString('hex');
}

/** A record with a fatal alert (RFC 8446 section 5.1). */
function alertRecord(code: number): RegExp {
  return new RegExp(`^1503..000202${code.toString(16).padStart(2, '0')}$`);
}

interface Refusal {
  readonly counter: 'tunnels_failed_tls' | 'tunnels_failed_identity';
  readonly reason: Reason;
  readonly detail: RegExp;
}

const byTls = (detail: RegExp): Refusal => ({
  counter: 'tunnels_failed_tls',
  reason: Reason.TLS,
  detail,
});
const byIdentity = (detail: RegExp): Refusal => ({
  counter: 'tunnels_failed_identity',
  reason: Reason.IDENTITY,
  detail,
});

/** `attempt` is refused once, and that is counted and reported; a good client still gets in. */
async function refused(t: Test, expected: Refusal, attempt: () => Promise<void>): Promise<void> {
  const before = server.engine.counters();
  await attempt();
  const event = await server.events.take(({ kind }) => kind === Kind.REFUSED);
  t.equal(event.reason, expected.reason);
  t.match(event.detail, expected.detail);
  t.match(event, { direction: Direction.INBOUND, podUid: 'server', sourceIdentity: '' });
  t.match(event.sourceAddress, /^10\.9\.0\.1:\d+$/);
  const after = server.engine.counters();
  t.equal(after[expected.counter], (before[expected.counter] ?? 0n) + 1n);
  t.equal(after['tunnels_accepted'], (before['tunnels_accepted'] ?? 0n) + 1n);
  t.equal(after['streams_opened'], before['streams_opened']);

  const options = ['--connect', hbone, '--authority', '10.9.0.2:8080'];
  const peer = new HboneClient([...options, ...identity(good, ca.rootFile)], clientPod.inside);
  peer.input.end('still served');
  t.equal((await peer.end()).output.toString(), 'still served');
}

t.test('plain HTTP, which would not understand an alert', async (t) => {
  const texts = [
    'GET / HTTP/1.1\r\nHost: a\r\n\r\n',
    'CONNECT 10.9.0.2:8080 HTTP/1.1\r\nHost: 10.9.0.2:8080\r\n\r\n',
  ];
  for (const text of texts) {
    await refused(t, byTls(/^TLS: HTTPS?_/), async () => {
      t.equal(await answerTo(text), '');
    });
  }
});

t.test('bytes that are not TLS', async (t) => {
  const attempts: [text: string, code: number][] = [
    ['\x00garbage'.repeat(20), alerts.protocolVersion],
    ['\xff'.repeat(100), alerts.protocolVersion],
    ['SSH-2.0-x\r\n', alerts.protocolVersion],
    ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', alerts.protocolVersion],
    ['\x16\x03\x01\x00\x05\x02\x00\x00\x01x', alerts.unexpectedMessage],
    ['\x16\x03\x01\x00\x04\x01\x00\x00\x00', alerts.decodeError],
  ];
  for (const [text, code] of attempts) {
    await refused(t, byTls(/^TLS: [A-Z_]+$/), async () => {
      t.match(await answerTo(text), alertRecord(code), JSON.stringify(text.slice(0, 16)));
    });
  }
});

t.test('a peer that says nothing', async (t) => {
  await refused(t, byTls(/took too long/), async () => {
    const stream = await clientPod.app.connect(server.ipv4, 15008);
    t.equal((await stream.readAll()).received, 0);
  });
});

const alert = (code: number): RegExp => new RegExp(`SSL alert number ${code}\\n`);

t.test('no certificate', async (t) => {
  await refused(t, byTls(/PEER_DID_NOT_RETURN_A_CERTIFICATE/), async () => {
    t.match(await tls('-alpn', 'h2'), alert(alerts.certificateRequired));
  });
});

t.test('a certificate that is no proof', async (t) => {
  const other = await TestCa.create(dirname(ca.rootFile), 'other');
  const attempts: [name: string, leaf: Promise<LeafFiles>, code: number, detail: RegExp][] = [
    ['of another authority', other.issue(client), alerts.unknownCa, /unable to get/],
    ['expired', ca.issue(client, { expired: true }), alerts.certificateExpired, /expired/],
    [
      'not yet valid',
      ca.issue(client, { notYetValid: true }),
      alerts.certificateExpired,
      /not yet/,
    ],
    [
      'with two URI names',
      ca.issue(client, { secondUri: spiffeId('other') }),
      alerts.badCertificate,
      /more than one URI name/,
    ],
    [
      'with no URI name',
      ca.issue(client, { dnsOnly: 'client.demo' }),
      alerts.badCertificate,
      /no URI name/,
    ],
    [
      'of an authority itself',
      ca.issue(client, { isCa: true }),
      alerts.badCertificate,
      /certificate authority/,
    ],
    [
      'of another trust domain',
      ca.issue('spiffe://elsewhere/ns/demo/sa/client'),
      alerts.unknownCa,
      /foreign trust domain: spiffe:\/\/elsewhere/,
    ],
    [
      'whose URI is no SPIFFE ID',
      ca.issue('https://cluster.local/ns/demo/sa/client'),
      alerts.badCertificate,
      /SPIFFE/,
    ],
    [
      'for servers',
      ca.issue(client, { onlyFor: 'server' }),
      alerts.unsupportedCertificate,
      /purpose/,
    ],
  ];
  for (const [name, leaf, code, detail] of attempts) {
    t.test(name, async (t) => {
      const proof = prove(await leaf);
      await refused(t, byIdentity(detail), async () => {
        t.match(await tls('-alpn', 'h2', ...proof), alert(code));
      });
    });
  }
});

t.test('an older TLS', async (t) => {
  await refused(t, byTls(/UNSUPPORTED_PROTOCOL/), async () => {
    t.match(await tls('-tls1_2', '-alpn', 'h2', ...prove(good)), alert(alerts.protocolVersion));
  });
});

t.test('another protocol in ALPN', async (t) => {
  await refused(t, byTls(/NO_APPLICATION_PROTOCOL/), async () => {
    const said = await tls('-alpn', 'http/1.1', ...prove(good));
    t.match(said, alert(alerts.noApplicationProtocol));
  });
});

interface Lingered {
  /** In OpenSSL's words, or a record in hexadecimal for a peer that never spoke TLS. */
  readonly alert: string | null;
  readonly sent: number;
  readonly ended: string;
  /** From the alert to the end. */
  readonly seconds: number;
}

/** What becomes of a peer that goes on sending behind what is refused. */
async function goOn(how: 'some' | 'flood' | 'trickle', leaf?: LeafFiles): Promise<Lingered> {
  const program = join(import.meta.dirname, '../../peers/lingering_client.py');
  const proof = leaf === undefined ? [] : ['--cert', leaf.cert, '--key', leaf.key];
  const options = ['--connect', hbone, '--ca', ca.rootFile, ...proof, '--then', how];
  const command = [...clientPod.inside, '/usr/bin/python3', program, ...options];
  const [file = '', ...args] = command;
  const { stdout, stderr } = await runProgram(file, args, { timeoutMs: 30_000 });
  if (stdout === '') {
    throw new Error(stderr);
  }
  return JSON.parse(stdout);
}

t.test('a refused peer that goes on sending', async (t) => {
  const other = await (await TestCa.create(dirname(ca.rootFile), 'third')).issue(client);
  const kinds = [
    { name: 'garbage', leaf: undefined, alert: alertRecord(alerts.protocolVersion) },
    { name: 'a wrong certificate', leaf: other, alert: /^TLSV1_ALERT_UNKNOWN_CA$/ },
  ];
  for (const { name, leaf, alert } of kinds) {
    const expected = leaf === undefined ? byTls(/^TLS: [A-Z_]+$/) : byIdentity(/self signed/);

    t.test(`32 KiB behind ${name} reads the alert and the end`, async (t) => {
      await refused(t, expected, async () => {
        const lingered = await goOn('some', leaf);
        t.match(lingered, { sent: 32 << 10, ended: 'end' });
        t.match(lingered.alert, alert);
      });
    });

    t.test(`without end behind ${name} is cut off`, async (t) => {
      await refused(t, expected, async () => {
        const lingered = await goOn('flood', leaf);
        t.match(lingered.ended, cutOff);
        t.ok(lingered.sent < socketsHold, `${lingered.sent} bytes went out`);
      });
    });

    t.test(`a byte now and then behind ${name} is cut off after a second`, async (t) => {
      await refused(t, expected, async () => {
        const lingered = await goOn('trickle', leaf);
        t.match(lingered.ended, cutOff);
        t.ok(lingered.seconds > 0.9, `after ${lingered.seconds} s`);
      });
    });
  }
});
