// SPDX-License-Identifier: Apache-2.0
// Issuer and engine are fakes, and time is node's mock timers: the real ones run in integration.
import { mock } from 'node:test';
import t, { type Test } from 'tap';
import type { IdentityMaterial } from '../../native/index.ts';
import type { CertificateOrder, IssuedCertificate } from '../../src/ca/client.ts';
import { MeshError } from '../../src/lib/error.ts';
import { createLog } from '../../src/lib/log.ts';
import {
  Certificates,
  issueConcurrencyMax,
  retiredRenewalMs,
  validitySeconds,
} from '../../ztunnel/certs.ts';
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

function setUp(t: Test, keys: KeyStore = noKeys) {
  mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  mock.method(Math, 'random', () => 0.5);
  const asks: Ask[] = [];
  const set: { spiffeId: string; key: number[]; roots: number }[] = [];
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
    setIdentity: ({ spiffeId, key, roots }: IdentityMaterial) =>
      set.push({ spiffeId, key: [...key], roots: roots.length }),
    removeIdentity: (spiffeId: string) => removed.push(spiffeId),
  };
  const certificates = new Certificates({ issuer: { issue }, sink, keys, log });
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
  t.same(set, [{ spiffeId: client, key: [1, 2, 3], roots: 0 }]);
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

/** Keys in memory, for a process that comes after. */
function memoryKeys() {
  const held = new Map<string, IssuedCertificate>();
  const keys: KeyStore = {
    load: (spiffeId) => held.get(spiffeId),
    save: (credential) => void held.set(credential.spiffeId, credential),
    remove: (spiffeId) => void held.delete(spiffeId),
    keepOnly: (spiffeIds) => {
      for (const spiffeId of [...held.keys()].filter((each) => !spiffeIds.has(each))) {
        held.delete(spiffeId);
      }
    },
  };
  return { held, keys };
}

function savedOf(spiffeId: string, ageMs: number): IssuedCertificate {
  const key = new Uint8Array([9]);
  const notBefore = new Date(Date.now() - ageMs);
  const notAfter = new Date(notBefore.getTime() + 24 * hourMs);
  return { spiffeId, chain: [], roots: [], key, notBefore, notAfter };
}

t.test('pods that wait come before renewals, and those before what is only expected', async (t) => {
  const { certificates, asks, ask } = setUp(t);
  certificates.hold(client, 'pod-1');
  await ask(0).answer();
  const names = Array.from({ length: issueConcurrencyMax }, (_, index) => `${server}${index}`);
  certificates.expect(new Set([client, ...names, `${server}-next`]));
  t.equal(asks.length, 1 + issueConcurrencyMax, 'no more at one time');
  mock.timers.tick(12 * hourMs);
  certificates.hold(server, 'pod-2');
  t.equal(asks.length, 1 + issueConcurrencyMax);
  for (let i = 1; i <= 3; i += 1) {
    await ask(i).answer();
  }
  const order = asks.slice(1 + issueConcurrencyMax).map((each) => each.order.spiffeId);
  t.same(order, [server, client, `${server}-next`]);
});

t.test('a saved certificate is used at once, and renewed when it is due', async (t) => {
  const { held, keys } = memoryKeys();
  const { certificates, asks, ask, set } = setUp(t, keys);
  held.set(client, savedOf(client, hourMs));
  certificates.hold(client, 'pod-1');
  t.match(set, [{ spiffeId: client, key: [9] }]);
  t.equal(asks.length, 0);
  t.equal(certificates.has(client), true);
  mock.timers.tick(11 * hourMs);
  await ask(0).answer();
  t.same([...(held.get(client)?.key ?? [])], [1, 2, 3], 'the new one is saved');
  certificates.release(client, 'pod-1');
  t.equal(held.size, 0, 'and wiped with the last pod');
});

t.test('a saved certificate that the engine refuses is wiped, and another asked for', async (t) => {
  const { held, keys } = memoryKeys();
  const { certificates, ask, asks } = setUp(t, keys);
  held.set(client, savedOf(client, hourMs));
  const broken = new Certificates({
    issuer: { issue: (order) => new Promise(() => asks.push({ order } as Ask)) },
    sink: {
      setIdentity: () => {
        throw new MeshError('invalid', 'no');
      },
      removeIdentity: () => undefined,
    },
    keys,
    log,
  });
  t.teardown(() => broken.close());
  broken.hold(client, 'pod-1');
  t.match(ask(0).order, { spiffeId: client });
  t.equal(held.size, 0);
  certificates.close();
});

t.test('keys of identities that nobody here has any more are wiped', async (t) => {
  const { held, keys } = memoryKeys();
  const { certificates } = setUp(t, keys);
  held.set(client, savedOf(client, hourMs));
  held.set(server, savedOf(server, hourMs));
  certificates.hold(client, 'pod-1');
  certificates.forgetOthers();
  t.same([...held.keys()], [client]);
});

t.test('new roots are told to the engine with the key it has, and kept for renewals', async (t) => {
  const { certificates, asks, ask, set } = setUp(t);
  certificates.hold(client, 'pod-1');
  await ask(0).answer();
  const roots = [new Uint8Array(1), new Uint8Array(1)];
  certificates.setTrust({ roots, retires: () => false });
  t.same(set.at(-1), { spiffeId: client, key: [1, 2, 3], roots: 2 });
  t.equal(asks.length, 1, 'what no retired root signed is not renewed');
  mock.timers.tick(12 * hourMs);
  await ask(1).answer();
  t.equal(set.at(-1)?.roots, 2);
});

t.test('what a retired root signed is renewed soon, and once', async (t) => {
  const { certificates, asks, ask } = setUp(t);
  certificates.hold(client, 'pod-1');
  await ask(0).answer();
  let retired = true;
  certificates.setTrust({ roots: [], retires: () => retired });
  mock.timers.tick(retiredRenewalMs);
  t.equal(asks.length, 2);
  retired = false;
  await ask(1).answer();
  mock.timers.tick(11 * hourMs);
  t.equal(asks.length, 2);
});

t.test(
  'roots that the engine does not take for one identity are taken for the others',
  async (t) => {
    const { certificates, ask, set } = setUp(t);
    certificates.hold(client, 'pod-1');
    certificates.hold(server, 'pod-2');
    await ask(0).answer();
    await ask(1).answer();
    const push = set.push.bind(set);
    set.push = (entry) => {
      if (entry.spiffeId === client) {
        throw new MeshError('invalid', 'no');
      }
      return push(entry);
    };
    certificates.setTrust({ roots: [new Uint8Array(1)], retires: () => false });
    t.match(set.at(-1), { spiffeId: server, roots: 1 });
  },
);

t.test('a certificate of a CA whose clock is ahead is used, and renewed in time', async (t) => {
  const { certificates, asks } = setUp(t);
  const ahead = new Certificates({
    issuer: { issue: async (order) => savedOf(order.spiffeId, -90_000) },
    sink: { setIdentity: () => undefined, removeIdentity: () => undefined },
    keys: noKeys,
    log,
  });
  t.teardown(() => ahead.close());
  ahead.hold(client, 'pod-1');
  await settle();
  t.equal(ahead.has(client), true);
  t.equal(asks.length, 0);
  certificates.close();
});
