// SPDX-License-Identifier: Apache-2.0
// The service in a plain grpc-js server, seen by plain grpc-js clients.
import { once } from 'node:events';
import { setTimeout as passed } from 'node:timers/promises';
import {
  Client,
  type ClientDuplexStream,
  credentials,
  Server,
  ServerCredentials,
  status,
} from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { createLog } from '../../../src/lib/log.ts';
import type { EncodedResource } from '../../../src/xds/encode.ts';
import {
  AdsServer,
  type AdsServerOptions,
  adsService,
  type Publication,
} from '../../../src/xds/server.ts';
import {
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
  deltaMethod,
  deltaRequest,
  typeUrls,
} from '../../../src/xds/wire.ts';
import { added, gone, resource } from '../../support/encoded-resource.ts';

const snapshotOf = (
  policies: readonly EncodedResource[],
  addresses: readonly EncodedResource[],
): Publication => ({
  [typeUrls.authorization]: added(...policies),
  [typeUrls.address]: added(...addresses),
});

/** A response as `type: +changed -removed`. */
function text({ typeUrl, resources, removedResources }: DeltaDiscoveryResponse): string {
  const type = typeUrl === typeUrls.address ? 'address' : 'policy';
  const changed = resources.map(({ name }) => `+${name}`);
  return [`${type}:`, ...changed, ...removedResources.map((name) => `-${name}`)].join(' ');
}

type Raw = ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

async function serve(t: Test, options: Partial<AdsServerOptions> = {}) {
  const lines: string[] = [];
  const log = createLog('test', 'info', { write: (line) => void lines.push(line) });
  const callerOf = () => ({ name: 'somebody', node: 'here', serial: 'a1' });
  const ads = new AdsServer({ log, callerOf, ...options });
  const server = new Server();
  server.addService(adsService, ads.handlers);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  const clients: Client[] = [];
  t.teardown(() => {
    for (const client of clients) {
      client.close();
    }
    server.forceShutdown();
  });
  const open = () => {
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
    clients.push(client);
    const { path, requestSerialize, responseDeserialize } = deltaMethod;
    const raw: Raw = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
    const error = once(raw, 'error').then(([thrown]) => thrown);
    const responses: AsyncIterator<DeltaDiscoveryResponse> = raw[Symbol.asyncIterator]();
    // The next response, unanswered, and the same answered.
    const take = async () => (await responses.next()).value as DeltaDiscoveryResponse;
    const ack = ({ typeUrl, nonce }: DeltaDiscoveryResponse, more: object = {}) =>
      void raw.write(deltaRequest({ typeUrl, responseNonce: nonce, ...more }));
    const next = async () => {
      const response = await take();
      ack(response);
      return response;
    };
    const subscribe = (...types: string[]) => {
      for (const typeUrl of types) {
        raw.write(deltaRequest({ typeUrl }));
      }
    };
    return { raw, error, take, ack, next, subscribe };
  };
  return { ads, open, lines };
}

const both = [typeUrls.authorization, typeUrls.address];

t.test('refuses everybody before the first snapshot', async (t) => {
  const { open } = await serve(t);
  t.match(await open().error, { code: status.UNAVAILABLE });
});

t.test('refuses a caller that is not known', async (t) => {
  const { ads, open } = await serve(t, { callerOf: () => undefined });
  ads.publish(snapshotOf([], []));
  t.match(await open().error, { code: status.UNAUTHENTICATED });
});

t.test('ends the streams of those who are denied, and no others', async (t) => {
  const serials = ['a1', 'a2'];
  const callerOf = () => ({ name: 'somebody', node: 'here', serial: serials.shift() ?? '' });
  const { ads, lines, open } = await serve(t, { callerOf });
  ads.publish(snapshotOf([], []));
  const [first, second] = [open(), open()];
  for (const stream of [first, second]) {
    stream.subscribe(typeUrls.address);
    await stream.next();
  }
  const refusal = { code: status.UNAUTHENTICATED, details: 'a node certificate is needed' };
  ads.endDenied(({ serial }) => serial === 'a1');
  t.match(await first.error, refusal, 'told no more than a stranger');
  t.match(ads.status, [{ caller: { serial: 'a2' } }], 'and over at once');
  t.match(lines.join(''), /"serial":"a1","reason":"the caller is on the deny list"/);
  ads.publish(snapshotOf([], [resource('w')]));
  t.equal(text(await second.next()), 'address: +w');
});

t.test('answers the first request of each type, even with nothing', async (t) => {
  const { ads, open } = await serve(t);
  ads.publish(snapshotOf([], []));
  const { next, subscribe } = open();
  subscribe(...both);
  t.equal(text(await next()), 'policy:');
  t.equal(text(await next()), 'address:');
});

t.test('sends the policies of a snapshot before its addresses', async (t) => {
  const { ads, open } = await serve(t);
  ads.publish(snapshotOf([], []));
  const { next, subscribe } = open();
  // Asked for in the other order: the rule holds for what follows.
  subscribe(typeUrls.address, typeUrls.authorization);
  await next();
  await next();
  ads.publish(snapshotOf([resource('p')], [resource('a')]));
  t.equal(text(await next()), 'policy: +p');
  t.equal(text(await next()), 'address: +a');
});

t.test('what policies lose goes after the addresses', async (t) => {
  const { ads, open } = await serve(t);
  ads.publish(snapshotOf([resource('p', '1', { boundByName: true }), resource('q')], []));
  const { next, subscribe } = open();
  subscribe(...both);
  await next();
  await next();
  ads.publish({
    [typeUrls.authorization]: { changed: [resource('r')], removed: ['p', 'q'] },
    [typeUrls.address]: added(resource('a', '2')),
  });
  t.equal(text(await next()), 'policy: +r');
  t.equal(text(await next()), 'address: +a');
  t.equal(text(await next()), 'policy: -p -q');
});

t.test('sends addresses when the policies before them are in force, not sooner', async (t) => {
  const { ads, open } = await serve(t);
  ads.publish(snapshotOf([resource('p')], [resource('a')]));
  const { take, ack, subscribe } = open();
  subscribe(...both);
  const policies = await take();
  const address = take();
  let came = false;
  void address.then(() => {
    came = true;
  });
  // Something else that is answered, as a sign that nothing else is on its way.
  for (const _ of [1, 2, 3]) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  t.equal(came, false);
  t.match(ads.status[0]?.subscriptions, [
    { type: typeUrls.authorization, acked: undefined, sent: 1 },
    { type: typeUrls.address, acked: undefined, sent: undefined },
  ]);
  ack(policies);
  t.equal(text(await address), 'address: +a');
});

t.test('ignores an ACK, and counts, keeps and logs a NACK', async (t) => {
  const { ads, open, lines } = await serve(t);
  ads.publish(snapshotOf([resource('p')], []));
  const { take, ack, next, subscribe } = open();
  subscribe(typeUrls.authorization);
  ack(await take(), { errorDetail: { code: 3, message: 'p is bad' } });
  subscribe(typeUrls.address);
  t.equal(text(await next()), 'address:', 'the next answer is to the next question');
  ads.publish(snapshotOf([resource('p', '2')], []));
  t.equal(text(await next()), 'policy: +p', 'and the next version is sent');
  t.equal(ads.counts.nacks, 1);
  t.ok(lines.some((line) => line.includes('p is bad')));
  t.match(ads.status, [
    {
      caller: { name: 'somebody', node: 'here' },
      subscriptions: [{ nacks: 1, names: undefined, complaint: { message: 'p is bad' } }, {}],
    },
  ]);
});

t.test('one push waits for each stream, and it goes to the newest', async (t) => {
  const { ads, open } = await serve(t);
  ads.publish(snapshotOf([], []));
  const { take, ack, next, subscribe } = open();
  subscribe(typeUrls.address);
  await next();
  ads.publish(snapshotOf([], [resource('first')]));
  const first = await take();
  ads.publish(snapshotOf([], [resource('a', '1'), resource('b')]));
  ads.publish(snapshotOf([], [resource('a', '2')]));
  ads.publish({ [typeUrls.address]: gone('b') });
  ack(first);
  t.equal(text(await next()), 'address: +a -b');
  t.equal(ads.counts.responses, 3);
});

t.test('a client that does not answer is let go', async (t) => {
  const { ads, open, lines } = await serve(t, { answerMs: 20 });
  ads.publish(snapshotOf([], []));
  const { take, subscribe, error } = open();
  subscribe(typeUrls.address);
  await take();
  t.match(await error, { code: status.DEADLINE_EXCEEDED });
  t.match(ads.counts, { streams: 0, unanswered: 1 });
  t.ok(lines.some((line) => line.includes('client does not answer')));
});

t.test(
  'a client that answers may be silent in between, and is let go when it does not',
  async (t) => {
    const answerMs = 300;
    const { ads, open } = await serve(t, { answerMs });
    ads.publish(snapshotOf([], []));
    const { next, subscribe, error } = open();
    subscribe(typeUrls.address);
    await next();
    // Longer than an answer may take: that is what is tested.
    await passed(3 * answerMs);
    t.match(ads.counts, { streams: 1, unanswered: 0 });
    ads.publish(snapshotOf([], [resource('a', '1')]));
    await next();
    await passed(3 * answerMs);
    t.match(ads.counts, { streams: 1, unanswered: 0 });
    ads.publish(snapshotOf([], [resource('a', '2')]));
    t.match(await error, { code: status.DEADLINE_EXCEEDED });
    t.match(ads.counts, { streams: 0, unanswered: 1 });
  },
);

t.test('when there are too many streams, whoever has most loses the oldest', async (t) => {
  const names = ['one', 'many', 'many', 'other', 'third', 'fourth'];
  const callerOf = () => ({ name: names.shift() ?? '', node: '', serial: '' });
  const { ads, open } = await serve(t, { callerOf, streamsMax: 3 });
  ads.publish(snapshotOf([], []));
  const enter = async () => {
    const opened = open();
    opened.subscribe(typeUrls.address);
    t.equal(text(await opened.next()), 'address:');
    return opened;
  };
  const exhausted = { code: status.RESOURCE_EXHAUSTED };
  await enter();
  const oldest = await enter();
  await enter();
  await enter();
  t.match(await oldest.error, exhausted);
  t.same(ads.status.map(({ caller }) => caller.name).sort(), ['many', 'one', 'other']);
  t.match(await open().error, exhausted, 'each of the others has one');
  t.equal(ads.counts.streams, 3);
});

t.test('says of types that it does not know once, and not at any length', async (t) => {
  const { ads, open, lines } = await serve(t);
  ads.publish(snapshotOf([], []));
  const { next, subscribe } = open();
  subscribe('x'.repeat(100_000), 'y', 'z', typeUrls.address);
  await next();
  const said = lines.filter((line) => line.includes('unknown resource type'));
  t.equal(said.length, 1);
  t.ok((said[0]?.length ?? 0) < 1000);
});

t.test('leaves a type that it does not know unanswered', async (t) => {
  const { ads, open } = await serve(t);
  ads.publish(snapshotOf([], []));
  const { next, subscribe } = open();
  subscribe('type.googleapis.com/envoy.config.cluster.v3.Cluster', typeUrls.address);
  t.equal(text(await next()), 'address:');
});

t.test('a client that did not read for a while goes straight to the newest', async (t) => {
  const { ads, open } = await serve(t);
  ads.publish(snapshotOf([], []));
  const { next, subscribe } = open();
  subscribe(typeUrls.address);
  await next();
  const bytes = new Uint8Array(900 * 1024);
  // More than the transport holds, so that the stream stands still while snapshots go by.
  const big = Array.from({ length: 40 }, (_, i) =>
    resource(`big${i}`, '1', { bytes: field(bytes) }),
  );
  ads.publish(snapshotOf([], big));
  const published = 200;
  for (let i = 0; i < published; i += 1) {
    ads.publish(snapshotOf([], [...big, resource('a', `${i}`), resource(`end${i}`)]));
    await new Promise((resolve) => setImmediate(resolve));
  }
  let count = 0;
  for (let last = ''; !last.includes(`+end${published - 1}`); count += 1) {
    last = text(await next());
  }
  t.ok(count < big.length + published / 2, `${count} responses`);
});

// An unknown field 15 of that size, which every decoder skips.
function field(bytes: Uint8Array): Uint8Array {
  const size = bytes.length;
  const prefix = [0x7a, (size & 127) | 128, ((size >> 7) & 127) | 128, size >> 14];
  return Uint8Array.from([...prefix, ...bytes]);
}

t.test('ends every stream when it is closed', async (t) => {
  const { ads, open } = await serve(t);
  ads.publish(snapshotOf([], []));
  const { next, subscribe, error } = open();
  subscribe(typeUrls.address);
  await next();
  t.equal(ads.counts.streams, 1);
  ads.close();
  t.match(await error, { code: status.UNAVAILABLE });
  t.equal(ads.counts.streams, 0);
});

t.test('forgets a stream whose client went away', async (t) => {
  const { ads, open, lines } = await serve(t);
  ads.publish(snapshotOf([], []));
  const { raw, next, subscribe } = open();
  subscribe(typeUrls.address);
  await next();
  raw.end();
  for await (const _ of raw) {
    t.fail('nothing more comes');
  }
  t.equal(ads.counts.streams, 0);
  t.ok(lines.some((line) => line.includes('stream closed')));
});

t.test('says which streams took which revision of a type', async (t) => {
  const { ads, open } = await serve(t);
  ads.publish(snapshotOf([], []));
  const publish = (version: string) =>
    ads.publish({ [typeUrls.trustBundle]: added(resource('td', version)) });
  const first = publish('1');
  const { take, ack, next, subscribe } = open();
  subscribe(typeUrls.trustBundle);
  const response = await take();
  const ackedBy = (revision: number) => ads.ackedBy(typeUrls.trustBundle, revision);
  t.match(ackedBy(first), { acked: [], waiting: ['somebody'] });
  ack(response);
  subscribe(typeUrls.address);
  await next();
  t.match(ackedBy(first), { acked: ['somebody'], waiting: [] });
  t.match(ackedBy(publish('1')), { acked: ['somebody'] }, 'nothing changed');
  t.same(ads.ackedBy(typeUrls.authorization, first).others, ['somebody']);
  const second = publish('2');
  ack(await take(), { errorDetail: { code: 3, message: 'bad root' } });
  ads.publish(snapshotOf([], [resource('a')]));
  await next();
  t.match(ackedBy(second), { acked: [], waiting: ['somebody'] });
});
