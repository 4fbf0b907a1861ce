// SPDX-License-Identifier: Apache-2.0
// The control plane is a plain grpc-js certificate service that takes no client but those with a
// certificate of its authority.
import t, { type Test } from 'tap';
import type { IssuedCertificate } from '../../src/ca/client.ts';
import { CaConnection } from '../../ztunnel/ca-connection.ts';
import { tlsChannel } from '../../ztunnel/join.ts';
import { serveCertificates } from '../support/certificate-service.ts';
import { IssuingCa } from '../support/issuing-ca.ts';

const order = {
  spiffeId: 'spiffe://cluster.local/ns/a/sa/b',
  validitySeconds: 60,
  impersonate: true,
} as const;

async function nodeCertificate(ca: IssuingCa, name: string): Promise<IssuedCertificate> {
  const spiffeId = `spiffe://cluster.local/node/${name}`;
  const keys = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, [
    'sign',
    'verify',
  ]);
  const leaf = await ca.issue({
    publicKey: keys.publicKey,
    names: [{ type: 'url', value: spiffeId }],
  });
  return {
    spiffeId,
    chain: [new Uint8Array(leaf.rawData)],
    key: new Uint8Array(await crypto.subtle.exportKey('pkcs8', keys.privateKey)),
    roots: [new Uint8Array(ca.root.rawData)],
    notBefore: leaf.notBefore,
    notAfter: leaf.notAfter,
  };
}

async function setUp(t: Test) {
  const ca = await IssuingCa.create();
  const service = await serveCertificates(
    ca,
    async ({ csr }) => [(await ca.issueFor(csr)).toString('pem'), ca.rootPem],
    { requireClient: true },
  );
  t.teardown(() => service.close());
  const roots = [new Uint8Array(ca.root.rawData)];
  const channelOf = async (name: string, issuer = ca) =>
    tlsChannel(service.address, roots, await nodeCertificate(issuer, name));
  const connection = new CaConnection(service.address, await channelOf('first'));
  t.teardown(() => connection.close());
  /** Who the service was asked by last. */
  const asker = () => service.asks.at(-1)?.client;
  return { service, connection, channelOf, asker };
}

t.test('a new connection takes over once it stands', async (t) => {
  const { connection, channelOf, asker } = await setUp(t);
  await connection.issue(order);
  t.equal(asker(), 'URI:spiffe://cluster.local/node/first');
  connection.renew(await channelOf('second'));
  while (asker() !== 'URI:spiffe://cluster.local/node/second') {
    await connection.issue(order);
  }
});

t.test('while the new one is refused, the old one is asked over', async (t) => {
  const { connection, service, channelOf, asker } = await setUp(t);
  await connection.issue(order);
  // The server refuses the certificate, which a client of TLS 1.3 learns after its handshake.
  connection.renew(await channelOf('stranger', await IssuingCa.create()));
  for (let asks = 0; asks < 50; asks += 1) {
    await connection.issue(order);
  }
  t.equal(service.asks.length, 51);
  t.equal(asker(), 'URI:spiffe://cluster.local/node/first');
  connection.renew(await channelOf('second'));
  while (asker() !== 'URI:spiffe://cluster.local/node/second') {
    await connection.issue(order);
  }
});

t.test('when the old one breaks, it is not made again', async (t) => {
  const { connection, service, channelOf, asker } = await setUp(t);
  await connection.issue(order);
  connection.renew(await channelOf('stranger', await IssuingCa.create()));
  service.drop();
  await t.rejects(connection.issue(order), { code: 'unavailable' });
  await t.rejects(connection.issue(order), { code: 'unavailable' });
  connection.renew(await channelOf('second'));
  await connection.issue(order);
  t.equal(asker(), 'URI:spiffe://cluster.local/node/second');
});

t.test('when the old one never stood, the newest is asked over', async (t) => {
  const { connection, channelOf, asker } = await setUp(t);
  connection.renew(await channelOf('second'));
  await connection.issue(order);
  t.equal(asker(), 'URI:spiffe://cluster.local/node/second');
});

t.test('closed, it asks no more and renews no more', async (t) => {
  const { connection, channelOf } = await setUp(t);
  await connection.issue(order);
  connection.close();
  connection.renew(await channelOf('second'));
  connection.connect();
  await t.rejects(connection.issue(order));
});
