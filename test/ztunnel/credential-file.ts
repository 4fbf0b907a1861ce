// SPDX-License-Identifier: Apache-2.0
import { chmodSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { IssuedCertificate } from '../../src/ca/client.ts';
import {
  credentialBytesMax,
  loadCredential,
  saveCredential,
} from '../../ztunnel/credential-file.ts';

const credential: IssuedCertificate = {
  spiffeId: 'spiffe://cluster.local/node/a',
  chain: [new Uint8Array([1, 2]), new Uint8Array([3])],
  key: new Uint8Array([4, 5, 6]),
  roots: [new Uint8Array([7])],
  notBefore: new Date(1000),
  notAfter: new Date(2000),
};

t.test('a credential comes back as it was saved, the newest one', async (t) => {
  const dir = join(t.testdir({}), 'state');
  saveCredential(dir, { ...credential, spiffeId: 'spiffe://cluster.local/node/old' });
  saveCredential(dir, credential);
  t.same(loadCredential(dir), credential);
  t.equal(readdirSync(dir).length, 1, 'nothing else is left behind');
});

t.test('folder and file are closed to others', async (t) => {
  const dir = t.testdir({});
  chmodSync(dir, 0o755);
  saveCredential(dir, credential);
  t.equal(statSync(dir).mode & 0o777, 0o700);
  t.equal(statSync(join(dir, 'node-credential.json')).mode & 0o777, 0o600);
});

t.test('no file is no credential', async (t) => {
  t.equal(loadCredential(t.testdir({})), undefined);
});

t.test('a file that others may read is not used', async (t) => {
  const dir = t.testdir({});
  saveCredential(dir, credential);
  chmodSync(join(dir, 'node-credential.json'), 0o640);
  t.throws(() => loadCredential(dir), { code: 'denied' });
});

t.test('a file that is no credential is refused', async (t) => {
  const dir = t.testdir({});
  saveCredential(dir, credential);
  const path = join(dir, 'node-credential.json');
  for (const text of ['', '{}', '{"version":2}']) {
    writeFileSync(path, text);
    t.throws(() => loadCredential(dir), { code: 'invalid' });
  }
  writeFileSync(path, ' '.repeat(credentialBytesMax + 1));
  t.throws(() => loadCredential(dir), { code: 'limit' });
});
