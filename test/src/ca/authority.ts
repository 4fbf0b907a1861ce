// SPDX-License-Identifier: Apache-2.0
// What is issued is judged by OpenSSL and by Node, not by the library that made it.
import { execFileSync, spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  Authority,
  backdateSeconds,
  type LeafOrder,
  readRoots,
  validitySecondsMax,
  validitySecondsMin,
} from '../../../src/ca/authority.ts';
import { pathLengthOf } from '../../../src/ca/certificate.ts';
import { intermediateDays } from '../../../src/ca/generation.ts';

const now = new Date(Math.floor(Date.now() / 1000) * 1000);
const spiffeId = { trustDomain: 'cluster.local', path: '/ns/demo/sa/client' };

async function order(more: Partial<LeafOrder> = {}): Promise<LeafOrder> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
  const { publicKey } = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  return { publicKey, spiffeId, validitySeconds: 3600, ...more };
}

async function founded(t: Test): Promise<{ authority: Authority; folder: string }> {
  const folder = join(t.testdir(), 'state');
  return { authority: await Authority.open(folder, 'cluster.local', now), folder };
}

/** What OpenSSL says of a chain as it was issued, with the last of it as what is believed. */
function openssl(folder: string, chainPem: readonly string[], purpose = 'sslclient'): string {
  writeFileSync(join(folder, 'leaf.pem'), chainPem[0] ?? '');
  writeFileSync(join(folder, 'between.pem'), chainPem.slice(1, -1).join(''));
  writeFileSync(join(folder, 'roots.pem'), chainPem.at(-1) ?? '');
  const files = ['-CAfile', 'roots.pem', '-untrusted', 'between.pem', 'leaf.pem'];
  const args = ['verify', '-x509_strict', '-purpose', purpose, ...files];
  const { stdout, stderr } = spawnSync('openssl', args, { cwd: folder, encoding: 'utf8' });
  return `${stdout}${stderr}`;
}

/** The end of the path of a chain: which root, of those that come with it, it leads to. */
function rootOf(chainPem: readonly string[]): string {
  const roots = (chainPem.at(-1) ?? '').match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----/g) ?? [];
  const top = new X509Certificate(chainPem.at(-2) ?? '');
  return roots.find((pem) => top.verify(new X509Certificate(pem).publicKey)) ?? '';
}

t.test('OpenSSL accepts leaf, intermediate and root under its strictest rules', async (t) => {
  const { authority, folder } = await founded(t);
  const { chainPem, serial } = await authority.issue(
    await order({ dnsNames: ['control.example'], ipAddresses: ['192.0.2.7', '2001:db8::7'] }),
    now,
  );
  t.equal(chainPem.length, 3);
  for (const purpose of ['sslclient', 'sslserver']) {
    t.equal(openssl(folder, chainPem, purpose), 'leaf.pem: OK\n');
  }
  const text = execFileSync('openssl', ['x509', '-in', 'leaf.pem', '-noout', '-text'], {
    cwd: folder,
    encoding: 'utf8',
  });
  const names =
    'URI:spiffe:\\S+client, DNS:control.example, IP Address:192.0.2.7, IP Address:2001:DB8';
  t.match(text, new RegExp(`Subject Alternative Name: critical\\s+${names}`));
  t.match(text, /Key Usage: critical\s+Digital Signature\n/);
  t.match(text, /Basic Constraints: critical\s+CA:FALSE/);
  t.match(text, /TLS Web Server Authentication, TLS Web Client Authentication/);
  t.match(text, /Subject:\s*\n/, 'the subject is empty');
  t.equal(new X509Certificate(chainPem[0] ?? '').serialNumber.toLowerCase(), serial);
});

t.test('nothing can stand between the intermediate and a leaf', async (t) => {
  const { authority } = await founded(t);
  const { chainPem } = await authority.issue(await order(), now);
  const intermediate = new X509Certificate(chainPem[1] ?? '');
  t.equal(pathLengthOf(intermediate), 0);
  t.equal(intermediate.subjectAltName, 'URI:spiffe://cluster.local', 'it is no SVID itself');
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

t.test('no leaf outlives what signs it, and then there are no more', async (t) => {
  const { authority } = await founded(t);
  const end = authority.notAfter;
  t.equal(end.getTime() - now.getTime(), intermediateDays * 86_400_000);
  const late = new Date(end.getTime() - 10_000);
  t.same((await authority.issue(await order(), late)).notAfter, end);
  await t.rejects(authority.issue(await order(), end), { code: 'unavailable' });
});

t.test('the intermediate is renewed at half of its life', async (t) => {
  const { authority, folder } = await founded(t);
  const half = new Date(now.getTime() + (intermediateDays / 2) * 86_400_000);
  t.equal(await authority.maintain(new Date(half.getTime() - 120_000)), false);
  const before = (await authority.issue(await order(), half)).chainPem;
  t.equal(await authority.maintain(half), true);
  const after = (await authority.issue(await order(), half)).chainPem;
  t.not(after[1], before[1]);
  t.equal(after[2], before[2]);
  const again = await Authority.open(folder, 'cluster.local', now);
  t.equal((await again.issue(await order(), half)).chainPem[1], after[1], 'and kept');
});

t.test("the root's key may lie elsewhere, until the intermediate is to be renewed", async (t) => {
  const { folder } = await founded(t);
  const path = join(folder, readdirSync(folder).find((name) => name.startsWith('root-')) ?? '');
  const text = readFileSync(path, 'utf8');
  writeFileSync(path, text.slice(text.indexOf('-----BEGIN CERT')));
  const authority = await Authority.open(folder, 'cluster.local', now);
  const { chainPem } = await authority.issue(await order(), now);
  t.equal(openssl(folder, chainPem), 'leaf.pem: OK\n');
  const half = new Date(now.getTime() + (intermediateDays / 2) * 86_400_000);
  await t.rejects(authority.maintain(half), { code: 'unavailable', message: /the root's key/ });
  await authority.issue(await order(), half);
  writeFileSync(path, text);
  t.equal(await authority.maintain(half), true);
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
  const files = readdirSync(folder);
  t.equal(files.length, 3, 'the one that came second left nothing');
  for (const name of files) {
    t.equal(statSync(join(folder, name)).mode & 0o777, 0o600, name);
  }
  const { roots, trustDomain } = await readRoots(folder);
  t.same(roots.map(Buffer.from), [new X509Certificate(first.rootPem).raw]);
  t.equal(trustDomain, 'cluster.local');
  await t.rejects(Authority.open(folder, 'other.example', now), { code: 'conflict' });
});

t.test('it fails on a folder that has none, or a broken one', async (t) => {
  const folder = join(t.testdir(), 'state');
  await t.rejects(readRoots(folder), { code: 'unavailable' });
  await Authority.open(folder, 'cluster.local', now);
  const other = join(folder, '..', 'other');
  await Authority.open(other, 'cluster.local', now);
  const [foreign = ''] = readdirSync(other).filter((file) => file.startsWith('signing-'));
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    const text = readFileSync(path, 'utf8');
    const head = text.slice(0, text.indexOf('-----BEGIN CERT'));
    const torn = [text.slice(0, 40), '', ...(name.endsWith('.pem') ? [head] : [])];
    if (name.startsWith('signing-')) {
      torn.push(readFileSync(join(other, foreign), 'utf8'));
    }
    for (const part of torn) {
      writeFileSync(path, part);
      const open = Authority.open(folder, 'cluster.local', now);
      await t.rejects(open, { code: 'invalid' }, `${name}: ${part}`);
    }
    writeFileSync(path, text);
  }
  await Authority.open(folder, 'cluster.local', now);
});

t.test('a rotation believes in the next root, signs with it, and drops the old one', async (t) => {
  const { authority, folder } = await founded(t);
  const old = await authority.issue(await order(), now);
  t.match(authority, { phase: 'steady', epoch: 1, walks: false, retired: undefined });
  t.equal(authority.roots.length, 1);
  await authority.prepare(now, true);
  t.match(authority, { phase: 'prepared', epoch: 2, walks: true, since: now });
  t.same(
    authority.roots.map(({ retired }) => retired),
    [false, false],
  );
  const during = await authority.issue(await order(), now);
  t.equal(rootOf(during.chainPem), rootOf(old.chainPem), 'the next root signs nothing yet');
  t.equal(openssl(folder, during.chainPem), 'leaf.pem: OK\n');
  await authority.activate(now);
  t.match(authority, { phase: 'activated', epoch: 3, retired: old.generation });
  t.same(
    authority.roots.map(({ retired }) => retired),
    [false, true],
  );
  const fresh = await authority.issue(await order(), now);
  t.not(rootOf(fresh.chainPem), rootOf(old.chainPem));
  t.equal(openssl(folder, fresh.chainPem), 'leaf.pem: OK\n');
  t.equal(
    openssl(folder, [...old.chainPem.slice(0, 2), fresh.chainPem[2] ?? '']),
    'leaf.pem: OK\n',
  );
  const own = await authority.issue(await order({ forControl: true }), now);
  t.equal(rootOf(own.chainPem), rootOf(old.chainPem), 'the control plane shows the old root still');
  await authority.finish(now);
  t.match(authority, { phase: 'steady', epoch: 4, walks: false, retired: undefined });
  const last = await authority.issue(await order({ forControl: true }), now);
  t.equal(rootOf(last.chainPem), rootOf(fresh.chainPem));
  t.match(
    openssl(folder, [...old.chainPem.slice(0, 2), last.chainPem[2] ?? '']),
    /unable to get local issuer certificate|self-signed/,
  );
  t.equal(readdirSync(folder).filter((name) => name.includes(old.generation)).length, 0);
});

t.test('the state survives a restart in every phase', async (t) => {
  const { authority, folder } = await founded(t);
  const reopened = async () => await Authority.open(folder, 'cluster.local', now);
  await authority.prepare(now, true);
  const second = await reopened();
  t.match(second, { phase: 'prepared', walks: true, rootPem: authority.rootPem });
  await second.activate(now);
  const third = await reopened();
  t.match(third, { phase: 'activated', retired: second.retired, rootPem: second.rootPem });
  t.equal((await readRoots(folder)).roots.length, 2);
  await third.finish(now);
  t.match(await reopened(), { phase: 'steady', epoch: 4, rootPem: third.rootPem });
});

t.test('the steps of a rotation come in their order', async (t) => {
  const { authority } = await founded(t);
  await t.rejects(authority.activate(now), { code: 'conflict', message: /steady, not prepared/ });
  await t.rejects(authority.finish(now), { code: 'conflict' });
  await authority.prepare(now, false);
  await t.rejects(authority.prepare(now, false), { code: 'conflict' });
  await t.rejects(authority.finish(now), { code: 'conflict' });
  await authority.setWalk(true);
  t.equal(authority.walks, true);
});
