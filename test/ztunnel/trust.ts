// SPDX-License-Identifier: Apache-2.0
import { createHash, X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import t, { type Test } from 'tap';
import type { DenyList } from '../../native/index.ts';
import { Authority } from '../../src/ca/authority.ts';
import { createLog } from '../../src/lib/log.ts';
import { TrustBundleSchema, typeUrls } from '../../src/xds/wire.ts';
import { denyEntriesMax, rootsMax, Trust, type TrustedRoots } from '../../ztunnel/trust.ts';
import { IssuingCa } from '../support/issuing-ca.ts';

const log = createLog('test', 'silent');
const web = 'spiffe://td/ns/demo/sa/web';

type BundleInit = MessageInitShape<typeof TrustBundleSchema>;

function setUp() {
  const calls: string[] = [];
  const denied: DenyList[] = [];
  const trusted: TrustedRoots[] = [];
  const sink = {
    setDenyList: (list: DenyList) => {
      calls.push('deny');
      denied.push(list);
    },
  };
  const follower = {
    setTrust: (roots: TrustedRoots) => {
      calls.push('trust');
      trusted.push(roots);
    },
  };
  const trust = new Trust('td', sink, [follower], log);
  const update = (init: BundleInit, name = 'td') => {
    const bundle = create(TrustBundleSchema, { trustDomain: 'td', epoch: 1n, ...init });
    const changed = new Map([[name, bundle]]);
    return trust.update({ type: typeUrls.trustBundle, changed, removed: [], broken: [] });
  };
  return { calls, denied, trust, trusted, update };
}

async function rootDer(): Promise<Uint8Array> {
  return new Uint8Array((await IssuingCa.create()).root.rawData);
}

/** An authority in the middle of a rotation, and a chain of each of its two roots. */
async function rotating(t: Test) {
  const now = new Date();
  const authority = await Authority.open(join(t.testdir(), 'state'), 'td', now);
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
  const { publicKey } = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const spiffeId = { trustDomain: 'td', path: '/ns/demo/sa/web' };
  const chain = async (): Promise<Uint8Array[]> => {
    const { chainPem } = await authority.issue({ publicKey, spiffeId, validitySeconds: 600 }, now);
    return chainPem.slice(0, -1).map((pem) => new Uint8Array(new X509Certificate(pem).raw));
  };
  const old = await chain();
  await authority.prepare(now, false);
  await authority.activate(now);
  return { roots: authority.roots, old, fresh: await chain() };
}

t.test('the deny list is in force before the roots are', async (t) => {
  const { calls, denied, trusted, update } = setUp();
  const root = await rootDer();
  const lists = { deniedIdentities: [web], deniedSerials: ['ab01'] };
  t.equal(update({ roots: [root], ...lists }).size, 0);
  t.same(calls, ['deny', 'trust']);
  t.same(denied, [{ identities: [web], serials: ['ab01'] }]);
  t.same(trusted[0]?.roots, [root]);
});

t.test('a chain to a retired root is told from one to a root that stays', async (t) => {
  const { trusted, update } = setUp();
  const { roots, old, fresh } = await rotating(t);
  const retired = roots.filter((root) => root.retired);
  const hashes = retired.map(({ der }) => createHash('sha256').update(der).digest());
  t.equal(update({ roots: roots.map(({ der }) => der), retiredRoots: hashes }).size, 0);
  t.equal(trusted[0]?.retires(old), true);
  t.equal(trusted[0]?.retires(fresh), false);
  t.equal(trusted[0]?.retires([]), false);
  const staying = roots.filter(({ retired: gone }) => !gone).map(({ der }) => der);
  t.equal(update({ roots: staying }).size, 0);
  t.equal(trusted[1]?.retires(old), true, 'a root that is gone is as good as retired');
  t.equal(trusted[1]?.retires(fresh), false);
});

t.test('a leaf that is on the deny list is to be replaced', async (t) => {
  const { trusted, update } = setUp();
  const { roots, fresh } = await rotating(t);
  const serial = new X509Certificate(fresh[0] ?? '').serialNumber.toLowerCase();
  const all = roots.map(({ der }) => der);
  t.equal(update({ roots: all, deniedSerials: [serial] }).size, 0);
  t.equal(trusted[0]?.retires(fresh), true);
  t.equal(update({ roots: all, deniedSerials: [`${serial}0`] }).size, 0);
  t.equal(trusted[1]?.retires(fresh), false);
});

t.test('a bundle that breaks a rule is refused whole, and the last one stays', async (t) => {
  const { calls, update, trust } = setUp();
  const root = await rootDer();
  const leaf = new Uint8Array((await rotating(t)).old[0] ?? []);
  const hash = createHash('sha256').update(root).digest();
  const many = (count: number, text: string) => new Array<string>(count).fill(text);
  const wrong: [BundleInit, RegExp, string?][] = [
    [{ roots: [] }, /not 1 to 16 roots/],
    [{ roots: new Array(rootsMax + 1).fill(root) }, /not 1 to 16 roots/],
    [{ roots: [new Uint8Array(9)] }, /not a certificate/],
    [{ roots: [leaf] }, /no certificate authority/],
    [{ roots: [root], retiredRoots: [hash] }, /every root is retired/],
    [{ roots: [root], deniedIdentities: ['web'] }, /not a SPIFFE ID/],
    [{ roots: [root], deniedSerials: ['AB'] }, /no serial number/],
    [{ roots: [root], deniedSerials: many(denyEntriesMax + 1, '1') }, /over 100000 entries/],
    [{ roots: [root], trustDomain: 'other' }, /not the trust domain td/],
    [{ roots: [root] }, /not the trust domain td/, 'other'],
  ];
  for (const [init, reason, name = 'td'] of wrong) {
    t.match(update(init, name).get(name), reason);
  }
  t.same(calls, []);
  t.equal(update({ roots: new Array(rootsMax).fill(root) }).size, 0);
  const gone = { changed: new Map(), removed: ['td'], broken: [] };
  trust.update({ type: typeUrls.trustBundle, ...gone });
  t.same(calls, ['deny', 'trust'], 'taking the bundle away changes nothing');
});
