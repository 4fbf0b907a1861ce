// SPDX-License-Identifier: Apache-2.0
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { SvidFolder } from '../../../src/bench/svid-files.ts';

t.test('issues certificates that the root signed, with their keys', async (t) => {
  const svids = await SvidFolder.create(join(t.testdir(), 'svids'));
  const { chainFile, keyFile, rootFile } = await svids.issue('client');
  const leaf = new X509Certificate(readFileSync(chainFile));
  t.equal(leaf.subjectAltName, `URI:${SvidFolder.idOf('client')}`);
  t.ok(leaf.verify(new X509Certificate(readFileSync(rootFile)).publicKey));
  t.ok(leaf.checkPrivateKey(createPrivateKey(readFileSync(keyFile))));
  t.equal(statSync(keyFile).mode & 0o777, 0o600);
});

t.test('two folders do not trust each other', async (t) => {
  const folder = t.testdir();
  const one = await (await SvidFolder.create(join(folder, 'one'))).issue('client');
  const two = await (await SvidFolder.create(join(folder, 'two'))).issue('client');
  const leaf = new X509Certificate(readFileSync(one.chainFile));
  t.notOk(leaf.verify(new X509Certificate(readFileSync(two.rootFile)).publicKey));
});
