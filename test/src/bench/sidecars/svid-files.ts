// SPDX-License-Identifier: Apache-2.0
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { SvidFolder } from '../../../../src/bench/sidecars/svid-files.ts';
import { runProgram } from '../../../../src/lib/program.ts';

/** What another implementation makes of the chain. */
async function verify(chainFile: string, rootFile: string): Promise<number> {
  const files = ['-CAfile', rootFile, '-untrusted', chainFile, chainFile];
  return (await runProgram('openssl', ['verify', '-purpose', 'sslserver', ...files])).code;
}

t.test('issues certificates that chain to the root, with their keys', async (t) => {
  const svids = await SvidFolder.open(join(t.testdir(), 'svids'));
  const { chainFile, keyFile, rootFile } = await svids.issue('client');
  const leaf = new X509Certificate(readFileSync(chainFile));
  t.equal(leaf.subjectAltName, `URI:${SvidFolder.idOf('client')}`);
  t.equal(await verify(chainFile, rootFile), 0);
  t.ok(leaf.checkPrivateKey(createPrivateKey(readFileSync(keyFile))));
  t.equal(statSync(keyFile).mode & 0o777, 0o600);
});

t.test('a certificate can be for addresses too', async (t) => {
  const svids = await SvidFolder.open(join(t.testdir(), 'svids'));
  const { chainFile } = await svids.issue('server', ['10.77.1.9']);
  const { subjectAltName } = new X509Certificate(readFileSync(chainFile));
  t.equal(subjectAltName, `URI:${SvidFolder.idOf('server')}, IP Address:10.77.1.9`);
});

t.test('two folders do not trust each other', async (t) => {
  const folder = t.testdir();
  const one = await (await SvidFolder.open(join(folder, 'one'))).issue('client');
  const two = await (await SvidFolder.open(join(folder, 'two'))).issue('client');
  t.not(await verify(one.chainFile, two.rootFile), 0);
});
