// SPDX-License-Identifier: Apache-2.0
// Judged by Node's X.509, not by the library that made it.
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { hostname } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Authority } from '../../../src/ca/authority.ts';
import { issueServerCertificate } from '../../../src/control/server-certificate.ts';

const now = new Date(Math.floor(Date.now() / 1000) * 1000);

async function issue(t: Test, further: readonly string[] = []) {
  const authority = await Authority.open(join(t.testdir(), 'state'), 'td', now);
  const { material, renewAt } = await issueServerCertificate(authority, further, now);
  const leaf = new X509Certificate(material.chainPem[0] ?? '');
  return { authority, leaf, material, renewAt };
}

t.test('it comes from the CA, with the root as the last of its chain', async (t) => {
  const { authority, leaf, material } = await issue(t);
  t.equal(material.chainPem.at(-1), authority.rootPem);
  t.equal(material.rootPem, authority.rootPem);
  t.ok(leaf.verify(new X509Certificate(material.chainPem[1] ?? '').publicKey));
  t.ok(leaf.checkPrivateKey(createPrivateKey(material.keyPem)));
});

t.test("it has the control plane's SPIFFE ID, and is good for this machine", async (t) => {
  const { leaf } = await issue(t);
  t.match(leaf.subjectAltName, /URI:spiffe:\/\/td\/ns\/weft-system\/sa\/control(,|$)/);
  t.ok(leaf.checkHost('localhost'));
  t.ok(leaf.checkHost(hostname()));
  for (const address of ['127.0.0.1', '::1']) {
    t.ok(leaf.checkIP(address), address);
  }
  t.notOk(leaf.checkHost('other.example'));
});

t.test('further names and addresses are taken, each once', async (t) => {
  const further = ['control.example', '192.0.2.7', '2001:db8::7', 'localhost', '127.0.0.1'];
  const { leaf } = await issue(t, further);
  t.ok(leaf.checkHost('control.example'));
  t.ok(leaf.checkIP('192.0.2.7'));
  t.ok(leaf.checkIP('2001:db8::7'));
  const names = leaf.subjectAltName?.split(', ') ?? [];
  t.equal(new Set(names).size, names.length);
});

t.test('it is to be renewed at half of its life, with another key', async (t) => {
  const first = await issue(t);
  const end = first.leaf.validToDate.getTime();
  t.equal(first.renewAt.getTime() - now.getTime(), end - first.renewAt.getTime());
  const second = await issueServerCertificate(first.authority, [], now);
  t.not(second.material.keyPem, first.material.keyPem);
});
