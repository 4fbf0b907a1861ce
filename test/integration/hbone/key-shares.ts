// SPDX-License-Identifier: Apache-2.0
// Key shares that give no secret, or are none, among those of others that say hello at the same time,
// with which they may be computed: whoever sends one is refused, and nobody else. Needs root.
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type ConnectionEvent, Kind, Reason } from '../../../native/index.ts';
import { runProgram } from '../../../src/lib/program.ts';
import { MeshPair, spiffeId } from '../../support/mesh-pair.ts';
import { HboneClient, identity } from '../../support/peers.ts';

// RFC 8446 sections 6 and 4.2.7.
const illegalParameter = 47;
const x25519 = 0x1d;
const p256 = 0x17;
// draft-ietf-tls-ecdhe-mlkem: the key of ML-KEM-768, then that of X25519.
const hybrid = 0x11ec;
/** As many as one call of a kernel takes. */
const atOnce = 8;

t.setTimeout(60_000);

const pair = await MeshPair.start(t, { client: 'bare' });
const { clientPod, server, ca } = pair;
await server.app.echo(8080);
const proof = identity(await ca.issue(spiffeId('client')), ca.rootFile);

type Share = readonly [group: number, share: string];

/** What each of `rounds` was answered. */
async function sayHello(rounds: readonly (readonly Share[])[]): Promise<(string | number)[][]> {
  const program = join(import.meta.dirname, '../../peers/hello_client.py');
  const command = [...clientPod.inside, '/usr/bin/python3', program];
  const [file = '', ...args] = [...command, '--connect', '10.9.0.2:15008'];
  const input = `${JSON.stringify(rounds)}\n`;
  const { stdout, stderr } = await runProgram(file, args, { timeoutMs: 30_000, input });
  t.equal(stderr, '');
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

/** Little-endian, as RFC 7748 section 5 has it. */
function littleEndian(value: bigint): string {
  return Buffer.from(value.toString(16).padStart(64, '0'), 'hex').reverse().toString('hex');
}

const prime = 2n ** 255n - 19n;
// Of order 1, 2, 4 and 8, and the numbers above the prime that mean the same.
const lowOrder = [
  0n,
  1n,
  325606250916557431795983626356110631294008115727848805560023387167927233504n,
  39382357235489614581723060781553021112529911719440698176882885853963445705823n,
  prime - 1n,
  prime,
  prime + 1n,
];
// SP 800-186 section 3.2.1.3.
const generator = [
  '6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296',
  '4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5',
].join('');
const p256Prime = 'ffffffff00000001000000000000000000000000ffffffffffffffffffffffff';
// A key of ML-KEM-768 that FIPS 203 section 7.2 takes: each coefficient is less than 3,329.
const mlKemKey = '00'.repeat(1184);

const good: Share[] = [
  [x25519, `${randomBytes(31).toString('hex')}40`],
  [p256, `04${generator}`],
];
const bad: [name: string, share: Share][] = [
  ...lowOrder.map((value): [string, Share] => [
    `X25519: the point of low order ${value}`,
    [x25519, littleEndian(value)],
  ]),
  ['X25519: 31 bytes', [x25519, '09'.repeat(31)]],
  ['X25519: 33 bytes', [x25519, '09'.repeat(33)]],
  ['P-256: a point off the curve', [p256, `04${generator.replace(/5$/, '4')}`]],
  ['P-256: the point at infinity', [p256, '00']],
  ['P-256: zeros', [p256, `04${'00'.repeat(64)}`]],
  ['P-256: a coordinate that is the prime', [p256, `04${p256Prime}${generator.slice(64)}`]],
  ['P-256: a compressed point', [p256, `03${generator.slice(0, 64)}`]],
  ['P-256: a byte short', [p256, `04${generator.slice(2)}`]],
  ['P-256: a byte long', [p256, `04${generator}00`]],
  ['hybrid: zeros behind a key of ML-KEM', [hybrid, `${mlKemKey}${'00'.repeat(32)}`]],
];

/** Checks that `share` is refused, and the other hellos of its round are answered. */
async function isRefused(t: Test, share: Share): Promise<void> {
  const counts = Array.from({ length: atOnce }, (_, i) => i + 1);
  // Each place among the others has a bad one at some time.
  const isBad = (count: number, at: number): boolean => (at + count) % atOnce < count;
  const rounds = counts.map((count) =>
    Array.from({ length: atOnce }, (_, at) =>
      isBad(count, at) ? share : (good[at % good.length] ?? share),
    ),
  );
  const answers = await sayHello(rounds);
  t.strictSame(
    answers,
    counts.map((count) =>
      Array.from({ length: atOnce }, (_, at) => (isBad(count, at) ? illegalParameter : 'hello')),
    ),
  );
  // Those that were answered leave without a word, which TLS does not name.
  const byTls = ({ kind, detail }: ConnectionEvent): boolean =>
    kind === Kind.REFUSED && detail.startsWith('TLS: ');
  const refusals = counts.reduce((sum, count) => sum + count, 0);
  for (let i = 0; i < refusals; i += 1) {
    t.match(await server.events.take(byTls), { reason: Reason.TLS });
  }
  t.strictSame(server.events.kept.filter(byTls), [], 'each is reported once');
}

for (const [name, share] of bad) {
  t.test(name, (t) => isRefused(t, share));
}

t.test('a whole handshake afterwards', async (t) => {
  const to = ['--connect', '10.9.0.2:15008', '--authority', '10.9.0.2:8080'];
  const client = new HboneClient([...to, ...proof], clientPod.inside);
  client.input.end('still there');
  const { report, output } = await client.end();
  t.match(report, { status: 200, error: null });
  t.equal(output.toString(), 'still there');
});
