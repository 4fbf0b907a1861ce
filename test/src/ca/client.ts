// SPDX-License-Identifier: Apache-2.0
// The service is a plain grpc-js server with a test authority behind it.
import 'reflect-metadata';
import { X509Certificate } from 'node:crypto';
import { ChannelCredentials, status } from '@grpc/grpc-js';
import { Pkcs10CertificateRequest, SubjectAlternativeNameExtension } from '@peculiar/x509';
import t, { type Test } from 'tap';
import { CaClient, chainCertificatesMax, type SecureChannel } from '../../../src/ca/client.ts';
import { type Answer, serveCertificates } from '../../support/certificate-service.ts';
import { IssuingCa } from '../../support/issuing-ca.ts';

// id-ce-subjectAltName
const subjectAltName = '2.5.29.17';
const spiffeId = 'spiffe://cluster.local/ns/demo/sa/client';
const order = { spiffeId, validitySeconds: 600, impersonate: true };

function channel(roots: Buffer): SecureChannel {
  return { credentials: ChannelCredentials.createSsl(roots), options: {} };
}

async function clientOf(t: Test, ca: IssuingCa, answer: Answer) {
  const service = await serveCertificates(ca, answer);
  const roots = Buffer.from(ca.rootPem);
  const client = new CaClient(service.address, channel(roots));
  t.teardown(() => {
    client.close();
    service.close();
  });
  return { client, service };
}

t.test('a certificate comes back with its key, chain, roots and life', async (t) => {
  const ca = await IssuingCa.create();
  const { client, service } = await clientOf(t, ca, async ({ csr }) => [
    (await ca.issueFor(csr)).toString('pem'),
    ca.rootPem,
  ]);
  const issued = await client.issue({ ...order, token: 'abc' });
  const leaf = new X509Certificate(issued.chain[0] ?? new Uint8Array());
  t.equal(leaf.subjectAltName, `URI:${spiffeId}`);
  t.equal(issued.chain.length, 1, 'the root is not in the chain');
  t.same(issued.roots, [new Uint8Array(ca.root.rawData)]);
  t.equal(issued.notAfter.getTime(), leaf.validToDate.getTime());
  t.match(service.asks, [
    { impersonated: spiffeId, validitySeconds: 600n, authorization: 'Bearer abc' },
  ]);
});

t.test('the request is for a P-256 key, has an empty subject and one critical SAN', async (t) => {
  const ca = await IssuingCa.create();
  const { client, service } = await clientOf(t, ca, async ({ csr }) => [
    (await ca.issueFor(csr)).toString('pem'),
    ca.rootPem,
  ]);
  await client.issue({ ...order, impersonate: false });
  const csr = new Pkcs10CertificateRequest(service.asks[0]?.csr ?? '');
  t.ok(await csr.verify(), 'signed by its own key');
  t.equal(csr.subject, '');
  t.match(csr.publicKey.algorithm, { name: 'ECDSA', namedCurve: 'P-256' });
  const names = csr.getExtension(subjectAltName);
  if (!(names instanceof SubjectAlternativeNameExtension)) {
    throw new Error('the CSR has no SAN');
  }
  t.equal(names.critical, true);
  t.same(names.names.toJSON(), [{ type: 'url', value: spiffeId }]);
  t.equal(service.asks[0]?.impersonated, undefined);
  t.equal(service.asks[0]?.authorization, undefined);
});

const wrongAnswers: readonly [string, (ca: IssuingCa) => Answer, RegExp][] = [
  [
    'another identity',
    (ca) =>
      async ({ csr }) => {
        const names = [{ type: 'url' as const, value: 'spiffe://cluster.local/ns/demo/sa/other' }];
        return [(await ca.issueFor(csr, { names })).toString('pem'), ca.rootPem];
      },
    /is for URI:.*other/,
  ],
  [
    'a second name beside the right one',
    (ca) =>
      async ({ csr }) => {
        const names = [
          { type: 'url' as const, value: spiffeId },
          { type: 'dns' as const, value: 'x' },
        ];
        return [(await ca.issueFor(csr, { names })).toString('pem'), ca.rootPem];
      },
    /is for URI/,
  ],
  [
    'another key',
    (ca) => async () => {
      const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
      const keys = await crypto.subtle.generateKey(algorithm, true, ['sign']);
      const names = [{ type: 'url' as const, value: spiffeId }];
      return [(await ca.issue({ publicKey: keys.publicKey, names })).toString('pem'), ca.rootPem];
    },
    /another key/,
  ],
  [
    'a root that did not sign',
    (ca) =>
      async ({ csr }) => [
        (await ca.issueFor(csr)).toString('pem'),
        (await IssuingCa.create()).rootPem,
      ],
    /not a chain/,
  ],
  [
    'no root',
    (ca) =>
      async ({ csr }) => [(await ca.issueFor(csr)).toString('pem')],
    /lacks/,
  ],
  ['nothing', () => async () => [], /lacks/],
  [
    'one certificate too many',
    (ca) => async () => [ca.rootPem.concat('\n').repeat(chainCertificatesMax + 1)],
    /over 16 certificates/,
  ],
];

for (const [what, answer, message] of wrongAnswers) {
  t.test(`an answer with ${what} is refused`, async (t) => {
    const ca = await IssuingCa.create();
    const { client } = await clientOf(t, ca, answer(ca));
    await t.rejects(client.issue(order), { name: 'MeshError', message });
  });
}

t.test('failures keep their kind', async (t) => {
  const ca = await IssuingCa.create();
  const code = { code: status.PERMISSION_DENIED, details: 'no' };
  const { client, service } = await clientOf(t, ca, () => Promise.reject(code));
  await t.rejects(client.issue(order), { code: 'denied', message: 'no' });
  service.close();
  await t.rejects(client.issue(order), { code: 'unavailable' });
});

t.test('an authority under another root is not spoken to', async (t) => {
  const ca = await IssuingCa.create();
  const service = await serveCertificates(ca, async () => []);
  const other = Buffer.from((await IssuingCa.create()).rootPem);
  const client = new CaClient(service.address, channel(other));
  t.teardown(() => {
    client.close();
    service.close();
  });
  await t.rejects(client.issue(order), { code: 'unavailable' });
  t.equal(service.asks.length, 0);
});
