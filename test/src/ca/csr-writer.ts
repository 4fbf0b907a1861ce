// SPDX-License-Identifier: Apache-2.0
import { execFileSync, spawnSync } from 'node:child_process';
import { createPrivateKey, createPublicKey } from 'node:crypto';
import t from 'tap';
import { makeCsr } from '../../../src/ca/csr-writer.ts';

const id = 'spiffe://cluster.local/ns/demo/sa/web';

function openssl(pem: string, ...args: string[]): string {
  return execFileSync('openssl', ['req', '-noout', ...args], { input: pem, encoding: 'utf8' });
}

// It says so on standard error, and whatever it is exits with 0.
function verdictOn(pem: string): string {
  return spawnSync('openssl', ['req', '-noout', '-verify'], { input: pem, encoding: 'utf8' })
    .stderr;
}

t.test('OpenSSL takes the request, for the one name and the key that comes with it', async (t) => {
  const { pem, key } = await makeCsr(id);
  t.match(verdictOn(pem), 'self-signature verify OK');
  const text = openssl(pem, '-text');
  t.match(text, /Subject: *\n/, 'an empty subject');
  t.match(
    text,
    /Subject Alternative Name: critical\s+URI:spiffe:\/\/cluster.local\/ns\/demo\/sa\/web\n/,
  );
  t.match(text, 'NIST CURVE: P-256');
  t.match(text, 'Signature Algorithm: ecdsa-with-SHA256');
  const own = createPrivateKey({ key: Buffer.from(key), format: 'der', type: 'pkcs8' });
  const spki = createPublicKey(own).export({ format: 'pem', type: 'spki' });
  t.equal(openssl(pem, '-pubkey'), spki);
});

t.test('a request that was changed is not taken', async (t) => {
  const { pem } = await makeCsr(id);
  const der = Buffer.from(pem.replace(/-----.*-----|\n/g, ''), 'base64');
  const at = der.indexOf('/sa/web') + 4;
  der.write('x', at);
  const changed = `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`;
  t.match(verdictOn(changed), 'self-signature verify failure');
});

t.test('a long name, and keys that differ', async (t) => {
  const long = `spiffe://cluster.local/ns/${'n'.repeat(63)}/sa/${'s'.repeat(253)}`;
  const [one, two] = [await makeCsr(long), await makeCsr(long)];
  t.match(openssl(one.pem, '-text'), long);
  t.notSame(one.key, two.key);
});
