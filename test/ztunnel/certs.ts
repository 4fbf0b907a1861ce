// SPDX-License-Identifier: Apache-2.0
// Issuer and engine are fakes, and time is node's mock timers: the real ones run in integration.
import { mock } from 'node:test';
import t, { type Test } from 'tap';
import type { IdentityMaterial } from '../../native/index.ts';
import type { CertificateOrder, IssuedCertificate } from '../../src/ca/client.ts';
import { MeshError } from '../../src/lib/error.ts';
import { createLog } from '../../src/lib/log.ts';
import { Certificates, issueConcurrencyMax, validitySeconds } from '../../ztunnel/certs.ts';
import type { KeyStore } from '../../ztunnel/key-folder.ts';

const log = createLog('test', 'silent');
const client = 'spiffe://cluster.local/ns/demo/sa/client';
const server = 'spiffe://cluster.local/ns/demo/sa/server';
const hourMs = 3_600_000;
const noKeys: KeyStore = {
  load: () => undefined,
  save: () => undefined,
  remove: () => undefined,
  keepOnly: () => undefined,
};

interface Ask {
  readonly order: CertificateOrder;
  answer(): Promise<Uint8Array>;
  refuse(): Promise<void>;
}

// Promises settle before the next turn of the loop, which mock timers leave alone.
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function setUp(t: Test) {
  mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  mock.method(Math, 'random', () => 0.5);
  const asks: Ask[] = [];
  const set: { spiffeId: string; key: number[] }[] = [];
  const removed: string[] = [];
  const issue = (order: CertificateOrder): Promise<IssuedCertificate> =>
    new Promise((resolve, reject) => {
      asks.push({
        order,
        answer: async () => {
          const key = new Uint8Array([1, 2, 3]);
          const notBefore = new Date(Date.now());
          const notAfter = new Date(Date.now() + 24 * hourMs);
          resolve({ spiffeId: order.spiffeId, chain: [], roots: [], key, notBefore, notAfter });
          await settle();
          return key;
        },
        refuse: async () => {
          reject(new MeshError('unavailable', 'away'));
          await settle();
        },
      });
    });
  const sink = {
    setIdentity: ({ spiffeId, key }: IdentityMaterial) => set.push({ spiffeId, key: [...key] }),
    removeIdentity: (spiffeId: string) => removed.push(spiffeId),
  };
  const certificates = new Certificates({ issuer: { issue }, sink, keys: noKeys, log });
  t.teardown(() => {
    certificates.close();
    mock.timers.reset();
    mock.restoreAll();
  });
  const ask = (index: number): Ask => {
    const found = asks[index];
    if (found === undefined) {
      throw new Error(`only ${asks.length} asks`);
    }
    return found;
  };
  return { certificates, asks, ask, set, removed };
}

t.test('an added pod has a certificate asked for and set; its key is wiped with it', async (t) => {
  const { certificates, asks, ask, set } = setUp(t);
  certificates.hold(client, 'pod-1');
  t.match(asks, [{ order: { spiffeId: client, validitySeconds, impersonate: true } }]);
  t.equal(certificates.has(client), false);
  const key = await ask(0).answer();
  t.same(set, [{ spiffeId: client, key: [1, 2, 3] }]);
  t.equal(certificates.has(client), true);
  certificates.release(client, 'pod-1');
  t.same([...key], [0, 0, 0], 'wiped with the last pod');
});

t.test('two pods of one identity share a certificate; the last one takes it along', async (t) => {
  const { certificates, asks, ask, removed } = setUp(t);
  certificates.hold(client, 'pod-1');
  certificates.hold(client, 'pod-2');
  t.equal(asks.length, 1);
  await ask(0).answer();
  certificates.release(client, 'pod-1');
  t.same(removed, []);
  certificates.release(client, 'pod-2');
  t.same(removed, [client]);
  certificates.release(client, 'pod-2');
  t.same(removed, [client], 'once');
});

t.test('it is renewed at half life and stays in use when that fails', async (t) => {
  const { certificates, asks, ask, set, removed } = setUp(t);
  certificates.hold(client, 'pod-1');
  await ask(0).answer();
  mock.timers.tick(12 * hourMs - 1);
  t.equal(asks.length, 1);
  mock.timers.tick(1);
  t.equal(asks.length, 2);
  await ask(1).refuse();
  t.equal(certificates.has(client), true);
  t.same(removed, []);
  mock.timers.tick(499);
  t.equal(asks.length, 2);
  mock.timers.tick(1);
  t.equal(asks.length, 3);
  await ask(2).refuse();
  mock.timers.tick(999);
  t.equal(asks.length, 3, 'the wait doubles');
  mock.timers.tick(1);
  await ask(3).answer();
  t.equal(set.length, 2);
  mock.timers.tick(12 * hourMs);
  t.equal(asks.length, 5, 'and half life counts again');
});

t.test('a certificate that comes after its last pod went is dropped and wiped', async (t) => {
  const { certificates, ask, set, removed } = setUp(t);
  certificates.hold(client, 'pod-1');
  certificates.release(client, 'pod-1');
  const key = await ask(0).answer();
  t.same(set, []);
  t.same(removed, []);
  t.same([...key], [0, 0, 0]);
});

t.test('expected identities are asked for ahead, and dropped when expected no more', async (t) => {
  const { certificates, asks, ask, removed } = setUp(t);
  certificates.expect(new Set([client, server]));
  t.equal(asks.length, 2);
  await ask(0).answer();
  await ask(1).answer();
  certificates.hold(client, 'pod-1');
  t.equal(asks.length, 2, 'it was there already');
  certificates.expect(new Set());
  t.same(removed, [server], 'a held one stays');
});

t.test('no more than the maximum is asked at once, pods before expected ones', async (t) => {
  const { certificates, asks, ask } = setUp(t);
  const many = Array.from({ length: issueConcurrencyMax + 4 }, (_, i) => `${server}${i}`);
  certificates.expect(new Set(many));
  t.equal(asks.length, issueConcurrencyMax);
  certificates.hold(client, 'pod-1');
  t.equal(asks.length, issueConcurrencyMax);
  await ask(0).refuse();
  t.equal(asks.length, issueConcurrencyMax + 1);
  t.equal(asks.at(-1)?.order.spiffeId, client);
});

t.test('an engine that refuses the material counts as a failure and is tried again', async (t) => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  t.teardown(() => mock.timers.reset());
  let asked = 0;
  const key = new Uint8Array([1]);
  const issued = { spiffeId: client, chain: [], roots: [], key };
  const issue = async () => {
    asked += 1;
    return { ...issued, notBefore: new Date(), notAfter: new Date(Date.now() + hourMs) };
  };
  const sink = {
    setIdentity: () => {
      throw new MeshError('invalid', 'no');
    },
    removeIdentity: () => undefined,
  };
  const certificates = new Certificates({ issuer: { issue }, sink, keys: noKeys, log });
  t.teardown(() => certificates.close());
  certificates.hold(client, 'pod-1');
  await settle();
  t.equal(certificates.has(client), false);
  t.same([...key], [0]);
  mock.timers.tick(600);
  t.equal(asked, 2);
  await settle();
});

t.test('nothing is asked after close()', async (t) => {
  const { certificates, asks, ask } = setUp(t);
  certificates.hold(client, 'pod-1');
  await ask(0).answer();
  certificates.close();
  mock.timers.tick(24 * hourMs);
  t.equal(asks.length, 1);
  t.throws(() => certificates.hold(server, 'pod-2'), { code: 'limit' });
});
