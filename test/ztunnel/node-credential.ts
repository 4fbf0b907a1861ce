// SPDX-License-Identifier: Apache-2.0
// The control plane is a plain grpc-js certificate service with a test authority.
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mock } from 'node:test';
import { status } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { createLog } from '../../src/lib/log.ts';
import { loadCredential } from '../../ztunnel/credential-file.ts';
import { NodeCredential, type NodeCredentialOptions } from '../../ztunnel/node-credential.ts';
import { type Answer, serveCertificates } from '../support/certificate-service.ts';
import { IssuingCa, type Leaf } from '../support/issuing-ca.ts';
import { joinToken } from '../support/join-token.ts';

const log = createLog('test', 'silent');
const never = new AbortController().signal;

async function setUp(t: Test, life: () => Partial<Leaf> = () => ({}), answer?: Answer) {
  const ca = await IssuingCa.create();
  const issue: Answer = async ({ csr }) => [
    (await ca.issueFor(csr, life())).toString('pem'),
    ca.rootPem,
  ];
  const service = await serveCertificates(ca, answer ?? issue);
  const dir = t.testdir({ token: await joinToken(ca.rootSha256) });
  const options: NodeCredentialOptions = {
    node: 'a',
    control: service.address,
    stateDir: join(dir, 'state'),
    joinTokenFile: join(dir, 'token'),
    log,
  };
  t.teardown(() => service.close());
  const open = async (change: Partial<NodeCredentialOptions> = {}, signal = never) => {
    const credential = await NodeCredential.open({ ...options, ...change }, signal);
    t.teardown(() => credential.close());
    return credential;
  };
  return { ca, service, options, open };
}

t.test('a node joins once and needs no token after that', async (t) => {
  const { service, options, open } = await setUp(t);
  const first = await open();
  t.equal(first.spiffeId, 'spiffe://cluster.local/node/a');
  first.close();
  rmSync(options.joinTokenFile ?? '');
  const second = await open();
  t.equal(second.spiffeId, first.spiffeId);
  t.equal(service.asks.length, 1);
});

t.test('it asks for workloads in the name of the node', async (t) => {
  const { service, open } = await setUp(t);
  const credential = await open();
  const spiffeId = 'spiffe://cluster.local/ns/demo/sa/client';
  await credential.issue({ spiffeId, validitySeconds: 60, impersonate: true });
  t.match(service.asks[1], { impersonated: spiffeId, authorization: undefined });
});

t.test('the certificate is renewed at half life, saved and announced', async (t) => {
  // Past six tenths of its life, the latest time a renewal can be due at; the next one is fresh.
  const lives: Partial<Leaf>[] = [{ notBeforeMs: -3_600_000, notAfterMs: 2_000_000 }];
  const { service, options, open } = await setUp(t, () => lives.shift() ?? {});
  const credential = await open();
  const before = loadCredential(options.stateDir);
  await new Promise<void>((resolve) => credential.onRenewed(resolve));
  const after = loadCredential(options.stateDir);
  t.equal(service.asks.length, 2);
  t.equal(service.asks[1]?.authorization, undefined, 'by its certificate, not by the token');
  t.notSame(after?.key, before?.key, 'with a new key');
  t.equal(after?.spiffeId, before?.spiffeId);
});

t.test('a saved certificate that is over is not used: the node joins again', async (t) => {
  const lives: Partial<Leaf>[] = [{ notAfterMs: -1000 }];
  const { service, open } = await setUp(t, () => lives.shift() ?? {});
  (await open()).close();
  await open();
  t.equal(service.asks.length, 2);
  t.match(service.asks[1]?.authorization, /^Bearer /);
});

t.test('the saved certificate of another node is not used', async (t) => {
  const { open } = await setUp(t);
  (await open()).close();
  await t.rejects(open({ node: 'b' }), { code: 'invalid', message: /is for node a, not b/ });
});

t.test('without a certificate and without a token there is no start', async (t) => {
  const { open, options } = await setUp(t);
  await t.rejects(open({ joinTokenFile: undefined }), { code: 'denied' });
  await t.rejects(open({ joinTokenFile: '/nowhere/token' }), { code: 'denied' });
  writeFileSync(options.joinTokenFile ?? '', 'nonsense');
  await t.rejects(open(), { code: 'invalid' });
});

t.test('a token that the control plane refuses ends the start', async (t) => {
  const refusal = { code: status.UNAUTHENTICATED, details: 'used before' };
  const { service, open } = await setUp(t, undefined, () => Promise.reject(refusal));
  await t.rejects(open(), { code: 'denied', message: 'used before' });
  t.equal(service.asks.length, 1, 'it is not tried again');
});

t.test('a control plane that is away is waited for, until we are stopped', async (t) => {
  const { service, open } = await setUp(t);
  service.close();
  const stop = new AbortController();
  const waiting = open({}, stop.signal);
  stop.abort();
  await t.rejects(waiting, { name: 'AbortError' });
});

t.test('new roots are saved, and trusted from the next connection on', async (t) => {
  const { ca, service, options, open } = await setUp(t);
  const credential = await open();
  const other = await IssuingCa.create();
  const roots = [ca, other].map(({ root }) => new Uint8Array(root.rawData));
  credential.setTrust({ roots, retires: () => false });
  t.same(loadCredential(options.stateDir)?.roots, roots);
  const order = { spiffeId: 'spiffe://cluster.local/ns/a/sa/b', validitySeconds: 60 };
  await credential.issue({ ...order, impersonate: true });
  credential.setTrust({ roots: roots.slice(1), retires: () => false });
  await credential.issue({ ...order, impersonate: true });
  service.drop();
  for (const _ of ['over the one that broke', 'over the next']) {
    await t.rejects(credential.issue({ ...order, impersonate: true }), { code: 'unavailable' });
  }
});

t.test('a certificate whose root is gone is renewed over the connection there is', async (t) => {
  const { options, open } = await setUp(t);
  const credential = await open();
  const order = { spiffeId: 'spiffe://cluster.local/ns/a/sa/b', validitySeconds: 60 };
  await credential.issue({ ...order, impersonate: true });
  mock.method(Math, 'random', () => 0);
  t.teardown(() => mock.restoreAll());
  const renewed = new Promise<void>((resolve) => credential.onRenewed(resolve));
  const other = new Uint8Array((await IssuingCa.create()).root.rawData);
  const before = loadCredential(options.stateDir);
  const answers = [true, true];
  credential.setTrust({ roots: [other], retires: () => answers.pop() ?? false });
  await renewed;
  t.notSame(loadCredential(options.stateDir)?.key, before?.key);
});

t.test('a certificate under a retired root is renewed soon', async (t) => {
  const { ca, service, options, open } = await setUp(t);
  const credential = await open();
  const before = loadCredential(options.stateDir);
  mock.method(Math, 'random', () => 0);
  t.teardown(() => mock.restoreAll());
  const renewed = new Promise<void>((resolve) => credential.onRenewed(resolve));
  const roots = [new Uint8Array(ca.root.rawData)];
  const answers = [true];
  credential.setTrust({ roots, retires: () => answers.pop() ?? false });
  await renewed;
  t.equal(service.asks.length, 2);
  t.notSame(loadCredential(options.stateDir)?.key, before?.key);
});

t.test(
  'without the control plane it starts with what it has, and asks again and again',
  async (t) => {
    const { service, open } = await setUp(t);
    (await open()).close();
    service.close();
    const credential = await open();
    t.equal(credential.spiffeId, 'spiffe://cluster.local/node/a');
    const order = { spiffeId: 'spiffe://cluster.local/ns/a/sa/b', validitySeconds: 60 };
    await t.rejects(credential.issue({ ...order, impersonate: true }), { code: 'unavailable' });
  },
);
