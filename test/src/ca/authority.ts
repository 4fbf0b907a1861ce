// SPDX-License-Identifier: Apache-2.0
// What is issued is judged by OpenSSL and by Node, not by the library that made it.
import { execFileSync, spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import {
  Authority,
  backdateSeconds,
  type LeafOrder,
  readRootCertificate,
  validitySecondsMax,
  validitySecondsMin,
} from '../../../src/ca/authority.ts';

const now = new Date(Math.floor(Date.now() / 1000) * 1000);
const spiffeId = { trustDomain: 'cluster.local', path: '/ns/demo/sa/client' };

async function order(more: Partial<LeafOrder> = {}): Promise<LeafOrder> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
  const { publicKey } = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  return { publicKey, spiffeId, validitySeconds: 3600, ...more };
}

t.test('OpenSSL accepts leaf and root under its strictest rules', async (t) => {
  const folder = t.testdir();
  const authority = await Authority.open(join(folder, 'state'), 'cluster.local', now);
  const { chainPem } = await authority.issue(await order(), now);
  writeFileSync(join(folder, 'leaf.pem'), chainPem[0] ?? '');
  writeFileSync(join(folder, 'root.pem'), chainPem[1] ?? '');
  for (const purpose of ['sslclient', 'sslserver']) {
    const args = ['verify', '-x509_strict', '-purpose', purpose, '-CAfile', 'root.pem', 'leaf.pem'];
    const { stdout, stderr } = spawnSync('openssl', args, { cwd: folder, encoding: 'utf8' });
    t.equal(stdout, 'leaf.pem: OK\n', `${purpose} ${stderr}`);
  }
  const text = execFileSync('openssl', ['x509', '-in', 'leaf.pem', '-noout', '-text'], {
    cwd: folder,
    encoding: 'utf8',
  });
  t.match(text, /Subject Alternative Name: critical\s+URI:spiffe:\S+client\n/);
  t.match(text, /Key Usage: critical\s+Digital Signature\n/);
  t.match(text, /Basic Constraints: critical\s+CA:FALSE/);
  t.match(text, /TLS Web Server Authentication, TLS Web Client Authentication/);
  t.match(text, /Authority Key Identifier/);
  t.match(text, /Subject:\s*\n/, 'the subject is empty');
});

t.test('the root lives ten years and is no SVID itself', async (t) => {
  const authority = await Authority.open(join(t.testdir(), 's'), 'cluster.local', now);
  const root = new X509Certificate(authority.rootPem);
  t.equal(root.ca, true);
  t.equal(root.subjectAltName, 'URI:spiffe://cluster.local');
  t.equal(root.validToDate.getUTCFullYear(), now.getUTCFullYear() + 10);
});

t.test('the validity asked for is brought into its limits', async (t) => {
  const authority = await Authority.open(join(t.testdir(), 's'), 'cluster.local', now);
  const cases: [number, number][] = [
    [0, validitySecondsMax],
    [-5, validitySecondsMin],
    [validitySecondsMin - 1, validitySecondsMin],
    [validitySecondsMin + 1, validitySecondsMin + 1],
    [validitySecondsMax, validitySecondsMax],
    [validitySecondsMax + 1, validitySecondsMax],
    [Number(2n ** 63n - 1n), validitySecondsMax],
  ];
  for (const [validitySeconds, given] of cases) {
    const { chainPem, notAfter } = await authority.issue(await order({ validitySeconds }), now);
    t.equal((notAfter.getTime() - now.getTime()) / 1000, given, `asked for ${validitySeconds}`);
    const leaf = new X509Certificate(chainPem[0] ?? '');
    t.equal((now.getTime() - leaf.validFromDate.getTime()) / 1000, backdateSeconds);
  }
});

t.test('no leaf outlives the root', async (t) => {
  const authority = await Authority.open(join(t.testdir(), 's'), 'cluster.local', now);
  const end = new X509Certificate(authority.rootPem).validToDate;
  const late = new Date(end.getTime() - 10_000);
  t.same((await authority.issue(await order(), late)).notAfter, end);
});

t.test('serial numbers are positive, long and differ', async (t) => {
  const authority = await Authority.open(join(t.testdir(), 's'), 'cluster.local', now);
  const serials = new Set<string>();
  for (let i = 0; i < 20; i += 1) {
    const { serial } = await authority.issue(await order(), now);
    t.match(serial, /^[4-7][0-9a-f]{31}$/);
    serials.add(serial);
  }
  t.equal(serials.size, 20);
});

t.test('it issues nothing for another trust domain, and no leaf without a path', async (t) => {
  const authority = await Authority.open(join(t.testdir(), 's'), 'cluster.local', now);
  for (const wrong of [
    { trustDomain: 'other', path: '/ns/a/sa/b' },
    { trustDomain: 'cluster.local', path: '' },
  ]) {
    await t.rejects(authority.issue(await order({ spiffeId: wrong }), now), { code: 'invalid' });
  }
});

t.test('it is kept for its owner alone, and found again', async (t) => {
  const folder = join(t.testdir(), 'state');
  const [first, second] = await Promise.all([
    Authority.open(folder, 'cluster.local', now),
    Authority.open(folder, 'cluster.local', now),
  ]);
  t.equal(first.rootPem, second.rootPem, 'two that start at one time agree');
  t.equal((await Authority.open(folder, 'cluster.local', now)).rootPem, first.rootPem);
  t.equal(statSync(folder).mode & 0o777, 0o700);
  t.equal(statSync(join(folder, 'root.pem')).mode & 0o777, 0o600);
  const { der, trustDomain } = await readRootCertificate(folder);
  t.same(Buffer.from(der), new X509Certificate(first.rootPem).raw);
  t.equal(trustDomain, 'cluster.local');
  await t.rejects(Authority.open(folder, 'other.example', now), { code: 'conflict' });
});

t.test('it fails on a folder that has none, or a broken one', async (t) => {
  const folder = t.testdir();
  await t.rejects(readRootCertificate(folder), { code: 'unavailable' });
  const good = await Authority.open(folder, 'cluster.local', now);
  const text = readFileSync(join(folder, 'root.pem'), 'utf8');
  for (const part of ['', good.rootPem, text.split('-----BEGIN CERT')[0] ?? '']) {
    writeFileSync(join(folder, 'root.pem'), part);
    await t.rejects(Authority.open(folder, 'cluster.local', now), { code: 'invalid' });
  }
});
