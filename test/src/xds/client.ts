// SPDX-License-Identifier: Apache-2.0
// The server is a plain grpc-js one.
import { EventEmitter, once } from 'node:events';
import { create } from '@bufbuild/protobuf';
import { ChannelCredentials } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { createLog } from '../../../src/lib/log.ts';
import {
  errorDetailCharactersMax,
  type Taken,
  type Update,
  type UpdateHandler,
  XdsClient,
} from '../../../src/xds/client.ts';
import { ResourceSchema, requiredTypes, type TypeUrl, typeUrls } from '../../../src/xds/wire.ts';
import {
  addressResource,
  DeltaServer,
  policyResource,
  trustResource,
} from '../../support/delta-server.ts';

const none: ReadonlyMap<string, string> = new Map();

function workload(uid: string, version = '1') {
  return addressResource(uid, version, { type: { case: 'workload', value: { uid } } });
}

function policy(name: string, version = '1') {
  return policyResource(`demo/${name}`, version, { name, namespace: 'demo' });
}

async function setUp(
  t: Test,
  onUpdate: UpdateHandler = () => none,
  types: readonly TypeUrl[] = requiredTypes,
) {
  const server = await DeltaServer.start();
  const events = new EventEmitter();
  const updates: Update[] = [];
  const waits: number[] = [];
  const log = createLog('test', 'warn', {
    write: (line) => {
      const { msg, waitMs } = JSON.parse(line);
      if (msg === 'xds stream is down') {
        waits.push(waitMs);
      }
    },
  });
  const client = new XdsClient({
    address: server.address,
    nodeId: 'ztunnel~test',
    nodeMetadata: { NODE_NAME: 'a' },
    types,
    channel: () => ({ credentials: ChannelCredentials.createInsecure(), options: {} }),
    onUpdate: (update) => {
      updates.push(update);
      return onUpdate(update);
    },
    onSynced: () => events.emit('synced'),
    log,
  });
  t.teardown(() => {
    client.close();
    server.close();
  });
  client.start();
  return { server, client, updates, events, waits };
}

t.test('policies are asked for before addresses, as wildcards, with the node', async (t) => {
  const { server } = await setUp(t);
  const first = await server.next();
  const second = await server.next();
  t.equal(first.typeUrl, typeUrls.authorization);
  t.equal(second.typeUrl, typeUrls.address);
  for (const request of [first, second]) {
    t.equal(request.node?.id, 'ztunnel~test');
    t.same(request.node?.metadata, { NODE_NAME: 'a' });
    t.same(request.resourceNamesSubscribe, []);
    t.same(request.initialResourceVersions, {});
    t.equal(request.responseNonce, '');
  }
});

t.test('each response is delivered decoded and acknowledged by its nonce', async (t) => {
  const { server, client, updates, events } = await setUp(t);
  await server.next();
  await server.next();
  const synced = once(events, 'synced');
  const first = server.send(typeUrls.authorization, [policy('p')]);
  t.match(await server.next(), { typeUrl: typeUrls.authorization, responseNonce: first });
  t.equal(client.synced, false);
  const second = server.send(typeUrls.address, [workload('a')], ['gone']);
  const ack = await server.next();
  t.match(ack, { typeUrl: typeUrls.address, responseNonce: second });
  t.equal(ack.errorDetail, undefined);
  await synced;
  t.equal(client.synced, true);
  t.equal(updates.length, 2);
  const [policies, addresses] = updates;
  t.match(policies?.changed.get('demo/p'), { name: 'p', namespace: 'demo' });
  t.match(addresses?.changed.get('a'), { type: { case: 'workload', value: { uid: 'a' } } });
  t.same(addresses?.removed, ['gone']);
});

t.test('a rejected resource is named in a NACK and the others are kept', async (t) => {
  const { server, updates } = await setUp(t, ({ changed }) =>
    changed.has('bad') ? new Map([['bad', 'port 0']]) : none,
  );
  await server.next();
  await server.next();
  const broken = { name: 'broken', version: '1', body: new Uint8Array([0xff]) };
  const nonce = server.send(typeUrls.address, [workload('a'), workload('bad'), broken]);
  const nack = await server.next();
  t.equal(nack.responseNonce, nonce);
  t.equal(nack.errorDetail?.code, 3);
  t.match(nack.errorDetail?.message, /bad: port 0; broken: bytes are not /);
  t.same([...(updates[0]?.changed.keys() ?? [])], ['a', 'bad']);
  t.same(updates[0]?.broken, ['broken']);
});

t.test('a resource of another type than its response is rejected', async (t) => {
  const { server, updates } = await setUp(t);
  await server.next();
  await server.next();
  server.send('type.googleapis.com/other', [workload('a')]);
  t.match((await server.next()).errorDetail?.message, /not asked for/);
  t.same(updates, []);
});

t.test('the sentence of a NACK is bounded', async (t) => {
  const names = Array.from({ length: 1000 }, (_, i) => `workload-${i}`);
  const { server } = await setUp(t, () => new Map(names.map((name) => [name, 'no'])));
  await server.next();
  await server.next();
  server.send(
    typeUrls.address,
    names.map((name) => workload(name)),
  );
  const { errorDetail } = await server.next();
  t.equal(errorDetail?.message.length, errorDetailCharactersMax);
});

t.test('a long reason does not take the place of another name', async (t) => {
  const reasons = new Map([
    ['a', 'x'.repeat(10_000)],
    ['b', 'no'],
  ]);
  const { server } = await setUp(t, () => reasons);
  await server.next();
  await server.next();
  server.send(typeUrls.address, [workload('a'), workload('b')]);
  const { errorDetail } = await server.next();
  t.match(errorDetail?.message, /^a: x{256}; b: no$/);
});

t.test(
  'a server that ends each stream after its first answer is asked ever less often',
  async (t) => {
    const { server, waits } = await setUp(t);
    for (let i = 0; i < 6; i += 1) {
      await server.next();
      await server.next();
      server.send(typeUrls.authorization, []);
      await server.next();
      server.endStream();
    }
    await server.next();
    t.equal(waits.length, 6);
    t.ok((waits.at(-1) ?? 0) > 200, `waited for ${waits} ms`);
  },
);

t.test('a reconnect names the versions in force: not the rejected, not the removed', async (t) => {
  const { server } = await setUp(t, ({ changed }) =>
    changed.has('b') ? new Map([['b', 'no']]) : none,
  );
  await server.serve(
    [workload('a', 'v1'), workload('b', 'v1'), workload('c', 'v1')],
    [policy('p')],
  );
  server.send(typeUrls.address, [workload('a', 'v2')], ['a', 'c']);
  await server.next();
  server.endStream();
  const first = await server.next();
  const second = await server.next();
  t.same(first.initialResourceVersions, { 'demo/p': '1' });
  t.same(second.initialResourceVersions, { a: 'v2' });
  t.equal(second.typeUrl, typeUrls.address);
  t.equal(second.node?.id, 'ztunnel~test');
});

t.test('it comes back by itself when the server was away', async (t) => {
  const { server, client, updates } = await setUp(t);
  await server.serve([workload('a')], []);
  const port = server.address.split(':')[1] ?? '';
  server.close();
  const again = await DeltaServer.start(undefined, `localhost:${port}`);
  t.teardown(() => again.close());
  t.same((await again.next()).initialResourceVersions, {});
  t.same((await again.next()).initialResourceVersions, { a: '1' });
  t.equal(client.synced, true, 'what was delivered stays in force');
  t.equal(updates.length, 2);
});

t.test('reconnect() makes a new connection with fresh credentials', async (t) => {
  const { server, client } = await setUp(t);
  await server.serve([workload('a')], []);
  client.reconnect();
  t.match(await server.next(), { typeUrl: typeUrls.authorization });
  t.same((await server.next()).initialResourceVersions, { a: '1' });
});

t.test('nothing is delivered after close()', async (t) => {
  const { server, client, updates } = await setUp(t);
  await server.serve([], []);
  client.close();
  client.reconnect();
  server.send(typeUrls.address, [workload('a')]);
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(updates.length, 2);
});

t.test('a type that only some servers have is delivered, and not waited for', async (t) => {
  const types = [typeUrls.trustBundle, ...requiredTypes];
  const { server, client, updates, events } = await setUp(t, () => none, types);
  t.match(await server.next(), { typeUrl: typeUrls.trustBundle });
  const synced = once(events, 'synced');
  await server.serve([], []);
  await synced;
  t.equal(client.synced, true);
  server.send(typeUrls.trustBundle, [trustResource('cluster.local', '1', { epoch: 7n })]);
  t.match(await server.next(), { typeUrl: typeUrls.trustBundle });
  const [bundle] = updates.at(-1)?.changed.values() ?? [];
  t.match(bundle, { epoch: 7n });
});

t.test('what an earlier process had is an update, and named to the server', async (t) => {
  const server = await DeltaServer.start();
  const updates: Update[] = [];
  const taken: Taken[] = [];
  const client = new XdsClient({
    address: server.address,
    nodeId: 'ztunnel~test',
    nodeMetadata: {},
    types: requiredTypes,
    channel: () => ({ credentials: ChannelCredentials.createInsecure(), options: {} }),
    onUpdate: (update) => {
      updates.push(update);
      return new Map(update.changed.has('bad') ? [['bad', 'no']] : []);
    },
    onTaken: (each) => taken.push(each),
    onSynced: () => undefined,
    log: createLog('test', 'silent'),
  });
  t.teardown(() => {
    client.close();
    server.close();
  });
  const type = typeUrls.address;
  const resources = ['good', 'bad'].map((name) => {
    const { body, version } = workload(name, 'v7');
    return create(ResourceSchema, { name, version, resource: { typeUrl: type, value: body } });
  });
  client.restore(
    new Map([
      [type, resources],
      [typeUrls.authorization, []],
    ]),
  );
  t.same(
    updates.map((update) => [update.type, [...update.changed.keys()]]),
    [
      [typeUrls.authorization, []],
      [type, ['good', 'bad']],
    ],
    'policies first, also when there is none',
  );
  t.same(taken.at(-1)?.resources, resources.slice(0, 1), 'what is refused is not in force');
  t.equal(client.synced, false);
  t.equal(client.live, false);
  client.start();
  await server.next();
  t.same((await server.next()).initialResourceVersions, { good: 'v7' });
  server.send(type, [], ['good']);
  await server.next();
  t.match(taken.at(-1), { type, resources: [], removed: ['good'] });
  t.equal(client.live, true);
  client.close();
  t.equal(client.live, false);
});
