// SPDX-License-Identifier: Apache-2.0
import { X509Certificate } from 'node:crypto';
import t from 'tap';
import type { IdentityMaterial } from '../../native/index.ts';
import { CertificateBook } from '../../ztunnel/certificate-book.ts';
import { materialOf } from '../support/mesh-pair.ts';
import { TestCa } from '../support/test-ca.ts';

const id = 'spiffe://cluster.local/ns/demo/sa/web';

t.test('certificates are shown, keys are not, and all goes on to the engine', async (t) => {
  const ca = await TestCa.create(t.testdir());
  const material = materialOf(id, await ca.issue(id), ca.rootFile);
  const calls: unknown[] = [];
  const book = new CertificateBook({
    setIdentity: (given: IdentityMaterial) => calls.push(given),
    removeIdentity: (gone) => calls.push(gone),
  });
  t.same(book.show(0), []);
  t.equal(book.firstEnd(), undefined);
  book.setIdentity(material);
  t.equal(calls[0], material);
  const leaf = new X509Certificate(material.chain[0] ?? new Uint8Array());
  const [shown] = book.show(Date.now());
  t.match(shown, { identity: id, state: 'Available', rootCerts: [{ pem: /BEGIN CERTIFICATE/ }] });
  t.match(shown?.certChain, [
    {
      pem: leaf.toString(),
      serialNumber: BigInt(`0x${leaf.serialNumber}`).toString(),
      expirationTime: leaf.validToDate.toISOString(),
    },
  ]);
  t.notMatch(JSON.stringify(shown), /PRIVATE/);
  t.equal(book.firstEnd(), leaf.validToDate.getTime());
  t.match(book.show(leaf.validToDate.getTime()), [{ state: 'Expired' }]);
  book.removeIdentity(id);
  t.equal(calls[1], id);
  t.equal(book.size, 0);
});
