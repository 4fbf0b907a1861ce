// SPDX-License-Identifier: Apache-2.0
// The authorities are made with OpenSSL, as a user would.
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Authority } from '../../../src/ca/authority.ts';
import { readGivenAuthority } from '../../../src/ca/given-authority.ts';

const spiffeId = { trustDomain: 'td', path: '/ns/demo/sa/client' };
const caExtensions = ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign,cRLSign'];

function openssl(folder: string, ...args: readonly string[]): void {
  execFileSync('openssl', args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
}

interface Maker {
  readonly key?: readonly string[];
  readonly extensions?: readonly string[];
  readonly by?: string;
}

const p256 = ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256'];

/** Makes NAME.key and NAME.pem: a root, or signed by another name. */
function make(folder: string, name: string, maker: Maker = {}): void {
  const { key = p256, extensions = caExtensions, by } = maker;
  const issuer = by === undefined ? [] : ['-CA', `${by}.pem`, '-CAkey', `${by}.key`];
  const extras = extensions.flatMap((text) => ['-addext', text]);
  const files = ['-keyout', `${name}.key`, '-out', `${name}.pem`];
  const subject = ['-subj', `/O=Example/CN=${name}`];
  openssl(
    folder,
    'req',
    '-x509',
    '-nodes',
    '-newkey',
    ...key,
    ...subject,
    ...files,
    '-days',
    '2',
    ...issuer,
    ...extras,
  );
}

async function publicKey(): Promise<CryptoKey> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
  return (await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])).publicKey;
}

function files(folder: string, name: string, root?: string) {
  const path = (file: string): string => join(folder, file);
  return {
    cert: path(`${name}.pem`),
    key: path(`${name}.key`),
    root: root === undefined ? undefined : path(`${root}.pem`),
  };
}

async function leafOf(t: Test, folder: string, authority: Authority, now: Date): Promise<string[]> {
  const order = { publicKey: await publicKey(), spiffeId, validitySeconds: 600 };
  const { chainPem } = await authority.issue(order, now);
  writeFileSync(join(folder, 'leaf'), chainPem[0] ?? '');
  writeFileSync(join(folder, 'between'), chainPem.slice(1, -1).join(''));
  writeFileSync(join(folder, 'roots'), chainPem.at(-1) ?? '');
  const between = chainPem.length > 2 ? ['-untrusted', 'between'] : [];
  const args = ['verify', '-x509_strict', '-purpose', 'sslclient', '-CAfile', 'roots'];
  t.doesNotThrow(() => openssl(folder, ...args, ...between, 'leaf'), 'OpenSSL takes the leaf');
  return [...chainPem];
}

t.test('roots and intermediates of every kind of key sign leaves that OpenSSL takes', async (t) => {
  const kinds: Record<string, readonly string[]> = {
    p256,
    p384: ['ec', '-pkeyopt', 'ec_paramgen_curve:P-384'],
    rsa2048: ['rsa:2048'],
  };
  for (const [kind, key] of Object.entries(kinds)) {
    const folder = t.testdir();
    make(folder, 'root', { key });
    make(folder, 'between', { key, by: 'root' });
    const now = new Date();
    for (const [name, root] of [['root'], ['between', 'root']] as const) {
      const given = await readGivenAuthority(files(folder, name ?? '', root), now);
      const state = join(folder, `state-${name}`);
      const authority = await Authority.open(state, 'td', now, given);
      const chain = await leafOf(t, folder, authority, now);
      t.equal(chain.length, name === 'root' ? 2 : 3, `${kind} ${name}`);
      for (const file of readdirSync(state)) {
        t.equal(statSync(join(state, file)).mode & 0o777, 0o600);
      }
    }
  }
});

t.test('a chain of several, with the root in the same file, is taken', async (t) => {
  const folder = t.testdir();
  make(folder, 'root');
  make(folder, 'one', { by: 'root' });
  make(folder, 'two', {
    by: 'one',
    extensions: ['basicConstraints=critical,CA:TRUE,pathlen:0', 'keyUsage=keyCertSign'],
  });
  const read = (name: string): string => readFileSync(join(folder, `${name}.pem`), 'utf8');
  writeFileSync(join(folder, 'two.pem'), ['two', 'one', 'root'].map(read).join(''));
  const now = new Date();
  const given = await readGivenAuthority(files(folder, 'two'), now);
  const authority = await Authority.open(join(folder, 'state'), 'td', now, given);
  t.equal((await leafOf(t, folder, authority, now)).length, 4);
});

t.test('what could not sign a good leaf is refused, with the reason', async (t) => {
  const folder = t.testdir();
  make(folder, 'root');
  make(folder, 'good', { by: 'root' });
  make(folder, 'tight', {
    extensions: ['basicConstraints=critical,CA:TRUE,pathlen:0', 'keyUsage=keyCertSign'],
  });
  make(folder, 'below', { by: 'tight' });
  make(folder, 'leaf', { by: 'root', extensions: ['basicConstraints=critical,CA:FALSE'] });
  make(folder, 'mute', {
    by: 'root',
    extensions: ['basicConstraints=CA:TRUE', 'keyUsage=cRLSign'],
  });
  make(folder, 'rsa1024', { key: ['rsa:1024'] });
  make(folder, 'below-weak', { by: 'rsa1024' });
  make(folder, 'p224', { key: ['ec', '-pkeyopt', 'ec_paramgen_curve:P-224'] });
  make(folder, 'svid', {
    extensions: [...caExtensions, 'subjectAltName=URI:spiffe://td/ns/a/sa/b'],
  });
  writeFileSync(join(folder, 'empty.pem'), '');
  const now = new Date();
  const cases: [ReturnType<typeof files>, RegExp][] = [
    [files(folder, 'good'), /the root of the chain is not in .* no --ca-root/],
    [files(folder, 'good', 'tight'), /the root of the chain is not in/],
    [files(folder, 'below', 'tight'), /pathlen/],
    [files(folder, 'leaf', 'root'), /may not sign others/],
    [files(folder, 'mute', 'root'), /may not sign others/],
    [files(folder, 'rsa1024'), /RSA of 2048 bits/],
    [files(folder, 'below-weak', 'rsa1024'), /RSA of 2048 bits/],
    [files(folder, 'p224'), /P-256, P-384/],
    [files(folder, 'svid'), /SPIFFE ID with a path/],
    [{ ...files(folder, 'good', 'root'), key: join(folder, 'root.key') }, /does not belong/],
    [{ ...files(folder, 'good', 'root'), key: join(folder, 'root.pem') }, /holds no key/],
    [{ ...files(folder, 'good', 'root'), cert: join(folder, 'empty.pem') }, /no certificate/],
  ];
  for (const [given, message] of cases) {
    await t.rejects(readGivenAuthority(given, now), { code: 'invalid', message }, String(message));
  }
  for (const days of [-1, 3]) {
    const then = new Date(now.getTime() + days * 86_400_000);
    const reading = readGivenAuthority(files(folder, 'root'), then);
    await t.rejects(reading, { code: 'invalid', message: /is not valid now/ });
  }
  const missing = { ...files(folder, 'good'), cert: join(folder, 'missing') };
  await t.rejects(readGivenAuthority(missing, now), { code: 'unavailable' });
});

t.test(
  'another one given later is rotated to; the same root with another key is not',
  async (t) => {
    const folder = t.testdir();
    const state = join(folder, 'state');
    make(folder, 'root');
    make(folder, 'one', { by: 'root' });
    make(folder, 'two', { by: 'root' });
    make(folder, 'other');
    const now = new Date();
    const open = async (name: string, root?: string): Promise<Authority> =>
      await Authority.open(
        state,
        'td',
        now,
        await readGivenAuthority(files(folder, name, root), now),
      );
    const first = await open('one', 'root');
    t.match(first, { phase: 'steady', epoch: 1 });
    t.match(await open('one', 'root'), { phase: 'steady', epoch: 1, signing: first.signing });
    const second = await open('two', 'root');
    t.match(second, { phase: 'steady', epoch: 1 });
    t.not(second.signing, first.signing);
    t.equal(
      await second.maintain(new Date(now.getTime() + 86_400_000)),
      false,
      'the user renews it',
    );
    const third = await open('other');
    t.match(third, { phase: 'prepared', walks: true, signing: second.signing });
    t.equal(third.roots.length, 2);
    const [, next] = third.roots;
    t.same(
      next?.der,
      new Uint8Array(new X509Certificate(readFileSync(join(folder, 'other.pem'))).raw),
    );
    t.match(await open('other'), { phase: 'prepared', epoch: 2 }, 'once');
  },
);
