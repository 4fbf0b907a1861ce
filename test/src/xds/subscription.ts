// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { DeltaCache } from '../../../src/xds/delta.ts';
import type { EncodedResource, ResourceSet } from '../../../src/xds/encode.ts';
import { Subscription, subscribedNamesMax } from '../../../src/xds/subscription.ts';
import { deltaRequest } from '../../../src/xds/wire.ts';

const resource = (name: string, version = '1'): EncodedResource => ({
  name,
  version,
  boundByName: false,
  aliases: [],
  services: [],
  node: '',
  bytes: Uint8Array.of(),
});
const setOf = (...resources: EncodedResource[]): ResourceSet =>
  new Map(resources.map((entry) => [entry.name, entry]));

const cache = new DeltaCache();
const ab = setOf(resource('a'), resource('b'));

type Init = Parameters<typeof deltaRequest>[0];
const open = (init: Init = {}) => new Subscription(deltaRequest(init));

function advance(subscription: Subscription, to: ResourceSet) {
  const { changed, removed } = subscription.advance(to, cache);
  return { changed: changed.map(({ name }) => name).sort(), removed: [...removed].sort() };
}

t.test('a client that names nothing gets everything, then changes', async (t) => {
  const subscription = open();
  t.equal(subscription.owesAnswer, true);
  t.same(advance(subscription, ab), { changed: ['a', 'b'], removed: [] });
  t.equal(subscription.owesAnswer, false);
  t.equal(subscription.needs(ab), false);
  const next = setOf(resource('a', '2'));
  t.equal(subscription.needs(next), true);
  t.same(advance(subscription, next), { changed: ['a'], removed: ['b'] });
});

t.test('the first request is answered even when there is nothing', async (t) => {
  const subscription = open({ initialResourceVersions: { a: '1', b: '1' } });
  t.equal(subscription.needs(ab), true);
  t.same(advance(subscription, ab), { changed: [], removed: [] });
});

t.test('what a client says it has is not sent again', async (t) => {
  const subscription = open({ initialResourceVersions: { a: '1', b: 'old', gone: '1' } });
  t.same(advance(subscription, ab), { changed: ['b'], removed: ['gone'] });
});

t.test('a client that names resources gets those, and hears of those that are not', async (t) => {
  const subscription = open({ resourceNamesSubscribe: ['a', 'x'] });
  t.same(advance(subscription, ab), { changed: ['a'], removed: ['x'] });
  t.same(advance(subscription, setOf(resource('a'), resource('b', '2'))), {
    changed: [],
    removed: [],
  });
  t.same(advance(subscription, setOf()), { changed: [], removed: ['a'] });
});

t.test('named resources that it has already are skipped on the first request alone', async (t) => {
  const named = { resourceNamesSubscribe: ['a', 'b'], initialResourceVersions: { a: '1' } };
  const subscription = open(named);
  t.same(advance(subscription, ab), { changed: ['b'], removed: [] });
  const again = subscription.request(deltaRequest({ resourceNamesSubscribe: ['a'] }));
  t.same(again, { kind: 'answer' });
  t.same(advance(subscription, ab), { changed: ['a'], removed: [] }, 'asked for again');
});

t.test('a star taken back at once leaves names on demand', async (t) => {
  const star = { resourceNamesSubscribe: ['*'], resourceNamesUnsubscribe: ['*'] };
  const subscription = open(star);
  t.same(advance(subscription, ab), { changed: [], removed: [] });
  subscription.request(deltaRequest({ resourceNamesSubscribe: ['b'] }));
  t.same(advance(subscription, ab), { changed: ['b'], removed: [] });
  subscription.request(deltaRequest({ resourceNamesSubscribe: ['*'] }));
  t.same(advance(subscription, ab), { changed: ['a', 'b'], removed: [] }, 'a star sends all');
});

t.test('what is no longer subscribed is no longer sent', async (t) => {
  const subscription = open({ resourceNamesSubscribe: ['a', 'b'] });
  advance(subscription, ab);
  const outcome = subscription.request(deltaRequest({ resourceNamesUnsubscribe: ['a'] }));
  t.same(outcome, { kind: 'quiet' });
  const next = setOf(resource('a', '2'), resource('b', '2'));
  t.same(advance(subscription, next), { changed: ['b'], removed: [] });
});

t.test('an ACK is quiet, and a NACK is counted and quiet', async (t) => {
  const subscription = open();
  advance(subscription, ab);
  t.same(subscription.request(deltaRequest({ responseNonce: '1' })), { kind: 'quiet' });
  const nack = deltaRequest({ responseNonce: '1', errorDetail: { code: 3, message: 'bad' } });
  t.same(subscription.request(nack), { kind: 'nack', message: 'bad' });
  t.equal(subscription.nacks, 1);
  t.equal(subscription.needs(ab), false, 'nothing is sent for it');
});

t.test('the number of names is limited', async (t) => {
  const subscription = open({ resourceNamesSubscribe: ['*'] });
  const names = Array.from({ length: subscribedNamesMax }, (_, i) => `n${i}`);
  t.same(subscription.request(deltaRequest({ resourceNamesSubscribe: names })).kind, 'answer');
  const more = deltaRequest({ resourceNamesSubscribe: ['one-more'] });
  t.throws(() => subscription.request(more), { code: 'limit' });
});
