// SPDX-License-Identifier: Apache-2.0
// The control plane is a plain grpc-js certificate service with a test authority.
import { generateKeyPairSync } from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import { createServer } from 'node:net';
import { mock } from 'node:test';
import tls, { type SecureContextOptions } from 'node:tls';
import t, { type Test } from 'tap';
import { CaClient } from '../../src/ca/client.ts';
import {
  join,
  learnRoot,
  parseJoinToken,
  splitAddress,
  tlsChannel,
  tokenRootsMax,
} from '../../ztunnel/join.ts';
import { type Answer, serveCertificates } from '../support/certificate-service.ts';
import { IssuingCa } from '../support/issuing-ca.ts';
import { joinToken } from '../support/join-token.ts';

function bytes(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, 'hex'));
}

function answerOf(ca: IssuingCa): Answer {
  return async ({ csr }) => [(await ca.issueFor(csr)).toString('pem'), ca.rootPem];
}

async function serve(t: Test, ca: IssuingCa, requireClient = false) {
  const service = await serveCertificates(ca, answerOf(ca), { requireClient });
  t.teardown(() => service.close());
  return { service, byIp: service.address.replace('localhost', '127.0.0.1') };
}

async function tokenOf(ca: IssuingCa, change: Record<string, unknown> = {}) {
  const token = parseJoinToken(await joinToken(ca.rootSha256, change));
  if (!token.ok) {
    throw token.error;
  }
  return token.value;
}

t.test('a join token says node, trust domain and root', async (t) => {
  const text = await joinToken('ab'.repeat(32));
  t.match(parseJoinToken(`${text}\n`), {
    ok: true,
    value: { text, node: 'a', trustDomain: 'cluster.local', rootSha256: [bytes('ab'.repeat(32))] },
  });
});

t.test('what is no join token is refused', async (t) => {
  const wrong = [
    '',
    'a.b.c',
    await joinToken('ab'),
    await joinToken('ab'.repeat(32), { aud: 'other' }),
    await joinToken('ab'.repeat(32), { aud: 'weft:' }),
    await joinToken('ab'.repeat(32), { sub: '' }),
    await joinToken('ab'.repeat(32), { rootSha256: [] }),
    await joinToken('ab'.repeat(32), {
      rootSha256: new Array(tokenRootsMax + 1).fill('ab'.repeat(32)),
    }),
  ];
  for (const text of wrong) {
    t.match(parseJoinToken(text), { ok: false, error: { code: 'invalid' } });
  }
});

t.test('addresses are split at their last colon', async (t) => {
  t.same(splitAddress('x:1'), { host: 'x', port: 1 });
  t.same(splitAddress('[fd77::1]:65535'), { host: 'fd77::1', port: 65_535 });
  for (const address of ['x', 'x:', 'x:0', 'x:65536', 'fd77::1:1', ':1', '[]:1']) {
    t.throws(() => splitAddress(address), { code: 'invalid' }, address);
  }
});

t.test('the root is learned when its hash is the pinned one', async (t) => {
  const ca = await IssuingCa.create();
  const { service } = await serve(t, ca);
  const root = await learnRoot(service.address, [bytes(ca.rootSha256)]);
  t.same(root, new Uint8Array(ca.root.rawData));
});

t.test('of several pinned roots one is enough, as in a rotation', async (t) => {
  const ca = await IssuingCa.create();
  const { service } = await serve(t, ca);
  const pinned = [bytes('00'.repeat(32)), bytes(ca.rootSha256)];
  t.same(await learnRoot(service.address, pinned), new Uint8Array(ca.root.rawData));
});

t.test('another root is refused, and the token is not sent', async (t) => {
  const ca = await IssuingCa.create();
  const { service } = await serve(t, ca);
  const token = await tokenOf(await IssuingCa.create());
  await t.rejects(join(service.address, token), { code: 'denied', message: /another root/ });
  t.same(service.asks, []);
});

t.test('nobody there, and somebody who speaks no TLS, are unavailable', async (t) => {
  const server = createServer((socket) => socket.resume().end('220 hello\r\n'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await t.rejects(learnRoot(`127.0.0.1:${port}`, [bytes('00'.repeat(32))]), {
    code: 'unavailable',
  });
  await new Promise((resolve) => server.close(resolve));
  await t.rejects(learnRoot(`127.0.0.1:${port}`, [bytes('00'.repeat(32))]), {
    code: 'unavailable',
  });
});

t.test('the token is exchanged for the certificate of its node', async (t) => {
  const ca = await IssuingCa.create();
  const { service } = await serve(t, ca);
  const token = await tokenOf(ca, { aud: 'weft:example.org' });
  const issued = await join(service.address, token);
  t.equal(issued.spiffeId, 'spiffe://example.org/node/a');
  t.match(service.asks, [{ authorization: `Bearer ${token.text}`, impersonated: undefined }]);
});

t.test('the control plane may be named by its IP address, which is then checked', async (t) => {
  const ca = await IssuingCa.create();
  const service = await serveCertificates(ca, answerOf(ca), { host: '0.0.0.0' });
  t.teardown(() => service.close());
  await join(service.address.replace('localhost', '127.0.0.1'), await tokenOf(ca));
  t.equal(service.asks.length, 1);
  const other = service.address.replace('localhost', '127.0.0.2');
  const client = new CaClient(other, tlsChannel(other, [new Uint8Array(ca.root.rawData)]));
  t.teardown(() => client.close());
  const order = { spiffeId: 'spiffe://x/node/a', validitySeconds: 60, impersonate: false };
  const message = /127\.0\.0\.2 is not in the cert's list/;
  await t.rejects(client.issue(order), { code: 'unavailable', message });
  t.equal(service.asks.length, 1);
});

t.test('once joined, the own certificate is shown', async (t) => {
  const ca = await IssuingCa.create();
  const { service } = await serve(t, ca);
  const own = await join(service.address, await tokenOf(ca));
  const strict = await serve(t, ca, true);
  for (const address of [strict.service.address, strict.byIp]) {
    const client = new CaClient(address, tlsChannel(address, own.roots, own));
    t.teardown(() => client.close());
    await client.issue({ spiffeId: own.spiffeId, validitySeconds: 60, impersonate: false });
  }
  t.match(strict.service.asks, [
    { client: 'URI:spiffe://cluster.local/node/a' },
    { client: 'URI:spiffe://cluster.local/node/a' },
  ]);
});

// How long an RSA key is in DER depends on its numbers: keys are made until each case is there.
function keysOfEveryLengthModulo3(): Buffer[] {
  const found = new Map<number, Buffer>();
  for (let modulusLength = 512; found.size < 3; modulusLength += 8) {
    const { privateKey } = generateKeyPairSync('rsa', {
      modulusLength,
      publicKeyEncoding: { type: 'spki', format: 'der' },
      privateKeyEncoding: { type: 'pkcs8', format: 'der' },
    });
    found.set(privateKey.length % 3, privateKey);
  }
  return [...found.values()];
}

t.test('the copy of the key that TLS was given is wiped', async (t) => {
  const ca = await IssuingCa.create();
  const { service } = await serve(t, ca);
  const own = await join(service.address, await tokenOf(ca));
  const given: { seen: string; key: Buffer }[] = [];
  const real = tls.createSecureContext;
  const spy = mock.method(tls, 'createSecureContext', (options: SecureContextOptions) => {
    const key = options.key as Buffer;
    given.push({ seen: key.toString('latin1'), key });
    return real(options);
  });
  syncBuiltinESMExports();
  t.teardown(() => {
    spy.mock.restore();
    syncBuiltinESMExports();
  });
  const others = keysOfEveryLengthModulo3();
  tlsChannel(service.address, own.roots, own);
  for (const key of others) {
    tlsChannel(service.address, own.roots, { ...own, key });
  }
  t.equal(given.length, 1 + others.length);
  [own.key, ...others].forEach((der, i) => {
    const base64 = Buffer.from(der)
      .toString('base64')
      .replace(/.{64}(?=.)/g, '$&\n');
    const pem = `-----BEGIN PRIVATE KEY-----\n${base64}\n-----END PRIVATE KEY-----\n`;
    t.equal(given[i]?.seen, pem);
    t.ok(given[i]?.key.every((byte) => byte === 0));
  });
});
