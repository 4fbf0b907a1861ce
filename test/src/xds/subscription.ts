// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { ResponseEncoder } from '../../../src/xds/responses.ts';
import { ResourceStore } from '../../../src/xds/store.ts';
import {
  complaintCharactersMax,
  Subscription,
  subscribedNamesMax,
} from '../../../src/xds/subscription.ts';
import { deltaRequest, typeUrls } from '../../../src/xds/wire.ts';
import { added, gone, resource } from '../../support/encoded-resource.ts';

type Init = Parameters<typeof deltaRequest>[0];

const now = new Date(0);
const key = 'demo/web.demo';
const service = resource(key, '1', { aliases: ['/10.9.0.1'], services: [key] });
const endpoint = (name: string, services: readonly string[], version = '1') =>
  resource(name, version, { services, aliases: [`/${name}`] });

/** A store with `a` and `b`, and what opens subscriptions to it. */
function setUp() {
  const store = new ResourceStore();
  store.update(added(resource('a'), resource('b')), 1);
  let revision = 1;
  const change = (
    ...changes: { changed: readonly ReturnType<typeof resource>[]; removed: readonly string[] }[]
  ) => {
    revision += 1;
    for (const each of changes) {
      store.update(each, revision);
    }
  };
  const open = (init: Init = {}) => new Subscription(deltaRequest(init), store, 'here');
  return { store, change, open };
}

/** What is sent now, as sorted texts. */
function advance(subscription: Subscription): string[] {
  const { changed, removed } = subscription.missing();
  subscription.advance();
  return [...changed.map(({ name }) => `+${name}`), ...removed.map((name) => `-${name}`)].sort();
}

t.test('a client that names nothing gets everything, then changes', async (t) => {
  const { open, change } = setUp();
  const subscription = open();
  t.equal(subscription.owesAnswer, true);
  t.equal(subscription.isShared, true, 'as others do');
  t.same(advance(subscription), ['+a', '+b']);
  t.equal(subscription.owesAnswer, false);
  t.equal(subscription.needs, false);
  change(added(resource('a', '2')), gone('b'));
  t.equal(subscription.needs, true);
  t.equal(subscription.isShared, true);
  t.same(advance(subscription), ['+a', '-b']);
});

t.test('the first request is answered even when there is nothing', async (t) => {
  const subscription = setUp().open({ initialResourceVersions: { a: '1', b: '1' } });
  t.equal(subscription.needs, true);
  t.equal(subscription.isShared, false);
  t.same(advance(subscription), []);
});

t.test('what a client says it has is not sent again', async (t) => {
  const { open, change } = setUp();
  const subscription = open({ initialResourceVersions: { a: '1', b: 'old', gone: '1' } });
  t.same(advance(subscription), ['+b', '-gone']);
  change(added(resource('c')));
  t.same(advance(subscription), ['+c']);
});

t.test('a client that names resources gets those, and hears of those that are not', async (t) => {
  const { open, change } = setUp();
  const subscription = open({ resourceNamesSubscribe: ['a', 'x'] });
  t.equal(subscription.isShared, false);
  t.same(advance(subscription), ['+a', '-x']);
  change(added(resource('b', '2')));
  t.same(advance(subscription), []);
  change(added(resource('x')));
  t.same(advance(subscription), ['+x'], 'and when it comes to be');
  change(gone('a', 'b'));
  t.same(advance(subscription), ['-a']);
});

t.test('named resources that it has already are skipped on the first request alone', async (t) => {
  const { open, change } = setUp();
  const named = { resourceNamesSubscribe: ['a', 'b'], initialResourceVersions: { a: '1' } };
  const subscription = open(named);
  t.same(advance(subscription), ['+b']);
  const again = subscription.request(deltaRequest({ resourceNamesSubscribe: ['a'] }), now);
  t.same(again, { kind: 'answer' });
  t.same(advance(subscription), ['+a'], 'asked for again');
  change(gone('a'));
  t.same(advance(subscription), ['-a'], 'what it said it has is followed');
});

const onDemand = { resourceNamesSubscribe: ['*'], resourceNamesUnsubscribe: ['*'] };

t.test('a star taken back at once leaves names on demand', async (t) => {
  const subscription = setUp().open(onDemand);
  t.equal(subscription.names, 0);
  t.same(advance(subscription), []);
  subscription.request(deltaRequest({ resourceNamesSubscribe: ['b'] }), now);
  t.same(advance(subscription), ['+b']);
  subscription.request(deltaRequest({ resourceNamesSubscribe: ['*'] }), now);
  t.equal(subscription.names, undefined);
  t.same(advance(subscription), ['+a', '+b'], 'a star sends all');
});

t.test('a service brings its endpoints, those that come later too', async (t) => {
  const { open, change } = setUp();
  change(added(service, endpoint('x', [key]), endpoint('y', [])));
  for (const name of [key, '/10.9.0.1']) {
    const subscription = open({ resourceNamesSubscribe: [name] });
    t.same(advance(subscription), [`+${key}`, '+x'], name);
  }
  const subscription = open(onDemand);
  advance(subscription);
  subscription.request(deltaRequest({ resourceNamesSubscribe: ['/10.9.0.1'] }), now);
  t.same(advance(subscription), [`+${key}`, '+x']);
  change(added(endpoint('y', [key], '2'), endpoint('z', [key])));
  t.same(advance(subscription), ['+y', '+z']);
  change(added(endpoint('x', [], '2')));
  t.same(advance(subscription), ['+x'], 'one that left the service is told of');
  change(gone('x', 'z'));
  t.same(advance(subscription), ['-x', '-z']);
  subscription.request(deltaRequest({ resourceNamesUnsubscribe: ['/10.9.0.1'] }), now);
  change(added(endpoint('y', [key], '3'), { ...service, version: '2' }));
  t.same(advance(subscription), [], 'all that came with a name goes with it');
});

t.test('an address that is asked for brings who has it', async (t) => {
  const { open, change } = setUp();
  change(added(endpoint('x', [])));
  const subscription = open({ resourceNamesSubscribe: ['/x', '/none'] });
  t.same(advance(subscription), ['+x', '-/none']);
  change(added(resource('late', '1', { aliases: ['/none'] })));
  t.same(advance(subscription), ['+late']);
});

t.test('what runs on the node of the client comes unasked', async (t) => {
  const { open, change } = setUp();
  change(added(resource('own', '1', { node: 'here' }), resource('other', '1', { node: 'there' })));
  const subscription = open(onDemand);
  t.same(advance(subscription), ['+own']);
  change(added(resource('other', '2', { node: 'here' }), resource('own', '2', { node: 'there' })));
  t.same(advance(subscription), ['+other', '+own'], 'and what moves there, or away');
  const resumed = open({ ...onDemand, initialResourceVersions: { own: '2' } });
  t.same(advance(resumed), ['+other']);
});

t.test('what is no longer subscribed is no longer sent', async (t) => {
  const { open, change } = setUp();
  const subscription = open({ resourceNamesSubscribe: ['a', 'b'] });
  advance(subscription);
  const outcome = subscription.request(deltaRequest({ resourceNamesUnsubscribe: ['a'] }), now);
  t.same(outcome, { kind: 'quiet' });
  change(added(resource('a', '2'), resource('b', '2')));
  t.same(advance(subscription), ['+b']);
});

t.test('answers are counted once, and only to what waits for one', async (t) => {
  const { open, change } = setUp();
  const encoder = new ResponseEncoder();
  const subscription = open();
  const send = () => {
    const responses = encoder.encode(typeUrls.address, subscription.missing(), true);
    subscription.advance();
    const landed = subscription.fly(responses).then(() => subscription.settle());
    return { landed, nonce: responses.at(-1)?.nonce ?? '' };
  };
  const answer = (responseNonce: string, complaint?: string) =>
    subscription.request(
      deltaRequest({
        responseNonce,
        ...(complaint === undefined ? {} : { errorDetail: { code: 3, message: complaint } }),
      }),
      now,
    );
  const first = send();
  t.equal(subscription.acked, undefined);
  t.same(answer('stale', 'bad'), { kind: 'quiet' }, 'not an answer to anything');
  t.equal(subscription.nacks, 0);
  t.same(answer(first.nonce), { kind: 'quiet' });
  await first.landed;
  t.equal(subscription.acked, 1);
  change(added(resource('a', '2')));
  const second = send();
  t.same(answer(second.nonce, 'bad'), { kind: 'nack', message: 'bad' });
  await second.landed;
  t.same(answer(second.nonce, 'bad'), { kind: 'quiet' }, 'said twice');
  t.match(subscription, { nacks: 1, acked: 1, complaint: { message: 'bad', time: now } });
  t.equal(subscription.needs, false, 'nothing is sent for it');
  change(added(resource('a', '3')));
  const third = send();
  answer(third.nonce);
  await third.landed;
  t.equal(subscription.acked, 3);
});

t.test('an answer to a response answers those before it', async (t) => {
  const { open } = setUp();
  const subscription = open();
  const flight = ['1', '2', '3'].map((nonce) => ({ nonce, bytes: Buffer.alloc(0) }));
  subscription.advance();
  let isOver = false;
  const landed = subscription.fly(flight).then(() => {
    isOver = true;
  });
  subscription.request(deltaRequest({ responseNonce: '2' }), now);
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(isOver, false);
  subscription.request(deltaRequest({ responseNonce: '3' }), now);
  await landed;
});

t.test('the number of names is limited', async (t) => {
  const subscription = setUp().open({ resourceNamesSubscribe: ['*'] });
  const names = Array.from({ length: subscribedNamesMax }, (_, i) => `n${i}`);
  const all = deltaRequest({ resourceNamesSubscribe: names });
  t.same(subscription.request(all, now).kind, 'answer');
  const more = deltaRequest({ resourceNamesSubscribe: ['one-more'] });
  t.throws(() => subscription.request(more, now), { code: 'limit' });
});

t.test('a name that is taken back many times at once costs as one', async (t) => {
  const { store, open } = setUp();
  store.update(added(service, endpoint('a', [key])), 2);
  const subscription = open({ resourceNamesSubscribe: [key] });
  advance(subscription);
  let looks = 0;
  const find = store.find.bind(store);
  store.find = (name) => {
    looks += 1;
    return find(name);
  };
  const names = Array.from({ length: 1000 }, () => key);
  subscription.request(deltaRequest({ resourceNamesUnsubscribe: names }), now);
  t.equal(looks, 1);
  t.equal(subscription.names, 0);
});

t.test('what a client says it has, and is not there, is not waited for', async (t) => {
  const { open, change } = setUp();
  const subscription = open({
    resourceNamesSubscribe: ['a'],
    initialResourceVersions: { a: '1', b: '1', lost: '1' },
  });
  t.same(advance(subscription), ['-lost']);
  change(added(resource('lost', '2'), resource('b', '2')));
  t.same(advance(subscription), ['+b'], 'it was not asked for');
});

t.test('of a complaint so much is kept', async (t) => {
  const subscription = setUp().open();
  void subscription.fly([{ nonce: '1', bytes: Buffer.alloc(0) }]);
  const message = 'm'.repeat(complaintCharactersMax + 1);
  const nack = deltaRequest({ responseNonce: '1', errorDetail: { code: 3, message } });
  const kept = message.slice(1);
  t.match(subscription.request(nack, now), { kind: 'nack', message: kept });
  t.equal(subscription.complaint?.message, kept);
});
