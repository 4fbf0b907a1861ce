// SPDX-License-Identifier: Apache-2.0
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { keyPemOf, pemBytesMax, pemCertificatesMax, pemOf, readPem } from '../../../src/ca/pem.ts';
import { IssuingCa } from '../../support/issuing-ca.ts';

const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

async function read(t: Test, text: string) {
  const path = join(t.testdir(), 'file.pem');
  writeFileSync(path, text);
  return await readPem(path);
}

t.test('certificates and a key are read, whatever stands between them', async (t) => {
  const { rootPem } = await IssuingCa.create();
  const found = await read(t, `a comment\n${keyPemOf(key)}\n${rootPem}\nmore\n${rootPem}`);
  t.equal(found.certificates.length, 2);
  t.equal(found.key?.equals(key), true);
  const [first] = found.certificates;
  t.match(
    first && pemOf(first),
    /^-----BEGIN CERTIFICATE-----\n[\s\S]+-----END CERTIFICATE-----\n$/,
  );
  const sec1 = String(key.export({ format: 'pem', type: 'sec1' }));
  t.match(sec1, 'BEGIN EC PRIVATE KEY');
  t.equal((await read(t, sec1)).key?.equals(key), true);
  t.same(await read(t, ''), { certificates: [], key: undefined });
});

t.test('files over a limit are refused, and those at it are not', async (t) => {
  const { rootPem } = await IssuingCa.create();
  const full = `${rootPem}\n`.repeat(pemCertificatesMax);
  t.equal((await read(t, full)).certificates.length, pemCertificatesMax);
  await t.rejects(read(t, `${full}${rootPem}`), { code: 'limit' });
  await t.rejects(read(t, keyPemOf(key).repeat(2)), { code: 'limit' });
  t.same((await read(t, ' '.repeat(pemBytesMax))).certificates, []);
  await t.rejects(read(t, ' '.repeat(pemBytesMax + 1)), { code: 'limit' });
});

t.test('what does not parse is refused, by the name of the file', async (t) => {
  for (const label of ['CERTIFICATE', 'PRIVATE KEY']) {
    const text = `-----BEGIN ${label}-----\nAAAA\n-----END ${label}-----\n`;
    await t.rejects(read(t, text), { code: 'invalid', message: /file\.pem/ });
  }
  await t.rejects(readPem('/nowhere/x.pem'), { code: 'unavailable', message: /nowhere/ });
});
