// SPDX-License-Identifier: Apache-2.0
// The service in a plain grpc-js server, seen by plain grpc-js clients.
import { once } from 'node:events';
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
import { AdsServer, adsService, type PublishedSets } from '../../../src/xds/server.ts';
import {
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
  deltaMethod,
  deltaRequest,
  typeUrls,
} from '../../../src/xds/wire.ts';

const resource = (name: string, version = '1', boundByName = false): EncodedResource => ({
  name,
  version,
  boundByName,
  aliases: [],
  services: [],
  node: '',
  // A Resource message of a name alone: field 3.
  bytes: Uint8Array.of(0x1a, name.length, ...Buffer.from(name)),
});

const snapshotOf = (
  policies: readonly EncodedResource[],
  addresses: readonly EncodedResource[],
): PublishedSets => ({
  [typeUrls.authorization]: new Map(policies.map((entry) => [entry.name, entry])),
  [typeUrls.address]: new Map(addresses.map((entry) => [entry.name, entry])),
});

/** A response as `type: +changed -removed`. */
function text({ typeUrl, resources, removedResources }: DeltaDiscoveryResponse): string {
  const type = typeUrl === typeUrls.address ? 'address' : 'policy';
  const changed = resources.map(({ name }) => `+${name}`);
  return [`${type}:`, ...changed, ...removedResources.map((name) => `-${name}`)].join(' ');
}

type Raw = ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

async function serve(t: Test, callerOf: () => string | undefined = () => 'somebody') {
  const lines: string[] = [];
  const log = createLog('test', 'info', { write: (line) => void lines.push(line) });
  const ads = new AdsServer({ log, callerOf });
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
    const next = async () => (await responses.next()).value as DeltaDiscoveryResponse;
    const subscribe = (...types: string[]) => {
      for (const typeUrl of types) {
        raw.write(deltaRequest({ typeUrl }));
      }
    };
    return { raw, error, next, subscribe };
  };
  return { ads, open, lines };
}

const both = [typeUrls.authorization, typeUrls.address];

t.test('refuses everybody before the first snapshot', async (t) => {
  const { open } = await serve(t);
  t.match(await open().error, { code: status.UNAVAILABLE });
});

t.test('refuses a caller that is not known', async (t) => {
  const { ads, open } = await serve(t, () => undefined);
  ads.publish(snapshotOf([], []));
  t.match(await open().error, { code: status.UNAUTHENTICATED });
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

t.test('takes a policy that is bound by name away after the addresses', async (t) => {
  const { ads, open } = await serve(t);
  ads.publish(snapshotOf([resource('p', '1', true), resource('q')], [resource('a')]));
  const { next, subscribe } = open();
  subscribe(...both);
  await next();
  await next();
  ads.publish(snapshotOf([], [resource('a', '2')]));
  t.equal(text(await next()), 'policy: -q');
  t.equal(text(await next()), 'address: +a');
  t.equal(text(await next()), 'policy: -p');
});

t.test('ignores an ACK and a NACK, and counts and logs the NACK', async (t) => {
  const { ads, open, lines } = await serve(t);
  ads.publish(snapshotOf([resource('p')], []));
  const { raw, next, subscribe } = open();
  subscribe(typeUrls.authorization);
  const { nonce, typeUrl } = await next();
  raw.write(deltaRequest({ typeUrl, responseNonce: nonce }));
  const errorDetail = { code: 3, message: 'p is bad' };
  raw.write(deltaRequest({ typeUrl, responseNonce: nonce, errorDetail }));
  subscribe(typeUrls.address);
  t.equal(text(await next()), 'address:', 'the next answer is to the next question');
  ads.publish(snapshotOf([resource('p', '2')], []));
  t.equal(text(await next()), 'policy: +p', 'and the next version is sent');
  t.equal(ads.counts.nacks, 1);
  t.ok(lines.some((line) => line.includes('p is bad')));
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
  const big = Array.from({ length: 40 }, (_, i) => ({
    ...resource(`big${i}`),
    bytes: field(bytes),
  }));
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
  const first = ads.publish({ [typeUrls.trustBundle]: new Map([['td', resource('td')]]) });
  const { raw, next, subscribe } = open();
  subscribe(typeUrls.trustBundle);
  const { typeUrl, nonce } = await next();
  t.match(ads.ackedBy(typeUrls.trustBundle, first), { acked: [], waiting: ['somebody'] });
  const answer = async (fields: object) => {
    raw.write(deltaRequest({ typeUrl, ...fields }));
    raw.write(deltaRequest({ typeUrl, resourceNamesSubscribe: ['no such'] }));
    return await next();
  };
  await answer({ responseNonce: nonce });
  t.match(ads.ackedBy(typeUrls.trustBundle, first), { acked: ['somebody'], waiting: [] });
  t.same(ads.ackedBy(typeUrls.address, first).others, ['somebody']);
  const second = ads.publish({ [typeUrls.trustBundle]: new Map([['td', resource('td', '2')]]) });
  const refused = await next();
  const errorDetail = { code: 3, message: 'bad root' };
  await answer({ responseNonce: refused.nonce, errorDetail });
  t.match(ads.ackedBy(typeUrls.trustBundle, second), { acked: [], waiting: ['somebody'] });
});
