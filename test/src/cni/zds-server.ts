// SPDX-License-Identifier: Apache-2.0
// Real SEQPACKET sockets; the proxies are stand-ins.
import { mkdtempSync, openSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create, toBinary } from '@bufbuild/protobuf';
import t, { type Test } from 'tap';
import { closeFd, listenPackets } from '../../../native/index.ts';
import { type ZdsPod, ZdsServer } from '../../../src/cni/zds-server.ts';
import { WorkloadResponseSchema } from '../../../src/lib/gen/zds_pb.js';
import { createLog } from '../../../src/lib/log.ts';
import type { MeshConfig } from '../../../src/lib/pod-settings.ts';
import { FakeProxy, type FakeProxyOptions } from '../../support/fake-proxy.ts';

const file = '/proc/self/ns/net';
const inode = statSync(file).ino;
const log = createLog('test', 'silent');

function pod(uid: string): ZdsPod {
  const netns = openSync(file, 'r');
  const of = { uid, name: `name-${uid}`, namespace: 'demo', serviceAccount: 'web' };
  return { ...of, netns, nameservers: ['10.0.0.53', 'fd00::53'] };
}

const addOf = (uid: string): string => `add ${uid} demo/name-${uid} web ${inode}`;

interface Fixture {
  readonly server: ZdsServer;
  readonly pods: ZdsPod[];
  readonly configs: MeshConfig[];
  readonly path: string;
  connect(options?: FakeProxyOptions): FakeProxy;
  /** Connects a proxy and waits until its snapshot is over. */
  connected(options?: FakeProxyOptions): Promise<FakeProxy>;
}

function serve(t: Test, listing: () => Promise<void> = async () => undefined): Fixture {
  const pods: ZdsPod[] = [];
  const list = async (): Promise<ZdsPod[]> => {
    const listed = [...pods];
    await listing();
    return listed;
  };
  const configs: MeshConfig[] = [];
  const onMeshConfig = (config: MeshConfig) => configs.push(config);
  const server = new ZdsServer({ pods: list, onMeshConfig, closeFd, log });
  // A socket's path has at most 107 bytes.
  const folder = mkdtempSync(join(tmpdir(), 'weft-zds-'));
  const path = join(folder, 'zds.sock');
  const listener = listenPackets(path, (packets) => server.accept(packets));
  const connect = (options: FakeProxyOptions = {}): FakeProxy => {
    const proxy = new FakeProxy(path, { version: 1, ...options });
    t.teardown(() => proxy.close());
    return proxy;
  };
  t.teardown(() => {
    listener.close();
    server.close();
    rmSync(folder, { recursive: true });
  });
  const connected = async (options?: FakeProxyOptions): Promise<FakeProxy> => {
    const proxy = connect(options);
    await proxy.until(({ heard }) => heard.includes('snapshot'));
    return proxy;
  };
  return { server, pods, configs, path, connect, connected };
}

t.test('a new proxy gets all pods with their namespaces, then the end mark', async (t) => {
  const { pods, connected } = serve(t);
  pods.push(pod('one'), pod('two'));
  const proxy = await connected();
  t.same(proxy.heard, [addOf('one'), addOf('two'), 'snapshot']);
});

t.test('adds and deletions go to all proxies, adds to one after the other', async (t) => {
  const { server, connected } = serve(t);
  const older = await connected({ answer: (heard) => (heard === addOf('one') ? undefined : '') });
  const newer = await connected();
  const added = server.add(pod('one'));
  await older.until(({ heard }) => heard.includes(addOf('one')));
  // A round trip through another connection, so that a second add would have arrived.
  const other = await connected();
  t.same(newer.heard, ['snapshot']);
  older.sendAck('');
  await added;
  await server.remove('one');
  t.same(older.heard, ['snapshot', addOf('one'), 'del one']);
  t.same(newer.heard, ['snapshot', addOf('one'), 'del one']);
  t.same(other.heard, [addOf('one'), 'snapshot', 'del one']);
});

t.test('one that takes no more, or ends, does not keep a pod from the others', async (t) => {
  const { server, connected } = serve(t);
  const ends = await connected({ answer: (heard) => (heard === 'snapshot' ? '' : undefined) });
  await connected({ answer: (heard) => (heard === 'snapshot' ? '' : 'carries what it has') });
  const newest = await connected();
  const added = server.add(pod('one'));
  await ends.until(({ heard }) => heard.includes(addOf('one')));
  ends.close();
  await added;
  t.same(newest.heard, ['snapshot', addOf('one')]);
});

t.test('a pod that none takes is refused in the words of the newest', async (t) => {
  const { server, connected } = serve(t);
  for (const words of ['older', 'newer']) {
    await connected({ answer: (heard) => (heard === 'snapshot' ? '' : words) });
  }
  await t.rejects(server.add(pod('one')), { code: 'denied', message: 'newer' });
});

t.test('requests are serial: the next goes out only after the ack', async (t) => {
  const { server, connected } = serve(t);
  const proxy = await connected({ answer: (heard) => (heard === addOf('one') ? undefined : '') });
  const first = server.add(pod('one'));
  const second = server.add(pod('two'));
  await proxy.until(({ heard }) => heard.includes(addOf('one')));
  // A round trip through another connection, so that a second request would have arrived.
  const other = await connected();
  t.notOk(proxy.heard.includes(addOf('two')));
  other.close();
  proxy.sendAck('');
  await first;
  await second;
  t.ok(proxy.heard.includes(addOf('two')));
});

t.test('a refusal carries the words of the proxy', async (t) => {
  const { server, connected } = serve(t);
  await connected({ answer: (heard) => (heard.startsWith('add') ? 'not placed here' : '') });
  await t.rejects(server.add(pod('one')), { code: 'denied', message: 'not placed here' });
});

t.test('without a proxy an add fails and a deletion is nothing', async (t) => {
  const { server } = serve(t);
  t.equal(server.ready, false);
  await t.rejects(server.add(pod('one')), { code: 'unavailable' });
  await server.remove('one');
});

t.test('the server is ready when a snapshot was acknowledged', async (t) => {
  const { server, connect } = serve(t);
  const proxy = connect({ answer: (heard) => (heard === 'snapshot' ? undefined : '') });
  await proxy.until(({ heard }) => heard.includes('snapshot'));
  t.equal(server.ready, false);
  proxy.sendAck('');
  await server.add(pod('one'));
  t.equal(server.ready, true);
});

t.test('a proxy that ends with a request under way fails the request', async (t) => {
  const { server, connected } = serve(t);
  const proxy = await connected({ answer: (heard) => (heard === 'snapshot' ? '' : undefined) });
  const add = server.add(pod('one'));
  await proxy.until(({ heard }) => heard.includes(addOf('one')));
  proxy.close();
  await t.rejects(add, { code: 'unavailable' });
});

t.test('a proxy that breaks the protocol is cut off', async (t) => {
  const { connect, connected } = serve(t);
  const stranger = connect({ version: 0 });
  await stranger.until((proxy) => proxy.closed);
  t.pass('unknown version');
  const hasty = await connected();
  hasty.sendAck('');
  hasty.sendAck('');
  await hasty.until((proxy) => proxy.closed);
  t.pass('an ack that nothing asked for');
  const garbled = await connected();
  garbled.sendRaw(new Uint8Array([0xff, 0xff, 0xff]));
  await garbled.until((proxy) => proxy.closed);
  t.pass('bytes that are no message');
});

t.test('of five proxies the oldest has to go', async (t) => {
  const { connected } = serve(t);
  const first = await connected();
  const others = [await connected(), await connected(), await connected()];
  t.notOk(first.closed);
  others.push(await connected());
  await first.until((proxy) => proxy.closed);
  t.same(
    others.map(({ closed }) => closed),
    [false, false, false, false],
  );
});

t.test('connections that say nothing push out each other, and no proxy', async (t) => {
  const { server, path, connected } = serve(t);
  const proxy = await connected();
  // Fewer than may wait at the listener.
  const silent = Array.from({ length: 12 }, () => new FakeProxy(path));
  t.teardown(() => {
    for (const each of silent) {
      each.close();
    }
  });
  await Promise.all(silent.slice(0, -1).map((each) => each.until(({ closed }) => closed)));
  t.notOk(proxy.closed);
  t.ok(server.ready);
  const successor = await connected();
  t.notOk(proxy.closed);
  t.notOk(successor.closed);
});

t.test('a pod whose names do not fit a packet is refused', async (t) => {
  const { server, connected } = serve(t);
  await connected();
  await t.rejects(server.add({ ...pod('one'), name: 'x'.repeat(1024) }), { code: 'limit' });
});

t.test('a pod whose add is under way reaches a proxy that comes meanwhile, once', async (t) => {
  const { server, pods, connected } = serve(t);
  const older = await connected({
    answer: (heard) => (heard === addOf('two') ? undefined : ''),
  });
  pods.push(pod('one'));
  const add = server.add(pod('two'));
  await older.until(({ heard }) => heard.includes(addOf('two')));
  const newer = await connected();
  t.same(newer.heard, [addOf('one'), addOf('two'), 'snapshot']);
  older.sendAck('');
  await add;
  t.equal(newer.heard.length, 3);
});

t.test(
  'what changes while the pods are listed is in the snapshot, or taken out of it',
  async (t) => {
    const gate = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    let calls = 0;
    const { server, pods, connect, connected } = serve(t, async () => {
      calls += 1;
      if (calls === 2) {
        asked.resolve();
        await gate.promise;
      }
    });
    const older = await connected();
    pods.push(pod('one'), pod('two'));
    const newer = connect();
    await asked.promise;
    await server.remove('one');
    await server.add(pod('three'));
    await server.add(pod('four'));
    await server.remove('four');
    gate.resolve();
    await newer.until(({ heard }) => heard.includes('snapshot'));
    t.same(newer.heard, [addOf('two'), addOf('three'), 'snapshot']);
    t.ok(older.heard.includes(addOf('three')));
  },
);

t.test(
  'a proxy says what counts for the mesh when it likes, and its acks stay in step',
  async (t) => {
    const { server, pods, configs, connected } = serve(t);
    pods.push(pod('one'));
    const proxy = await connected();
    const say = (value: { capture: string; sameNode: string }): void => {
      const payload = { case: 'meshConfig', value } as const;
      proxy.sendRaw(toBinary(WorkloadResponseSchema, create(WorkloadResponseSchema, { payload })));
    };
    say({ capture: 'nft', sameNode: 'tunnel' });
    say({ capture: '', sameNode: '' });
    say({ capture: 'of a later version', sameNode: 'direct' });
    await server.remove('one');
    t.match(configs, [
      { capture: 'nft', sameNode: 'tunnel' },
      { capture: undefined, sameNode: undefined },
      { capture: undefined, sameNode: 'direct' },
    ]);
    t.equal(proxy.closed, false);
  },
);
