// SPDX-License-Identifier: Apache-2.0
// Both ends of a hand-over on real SEQPACKET sockets; only what they give away is the test's.
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { connectPackets, listenPackets } from '../../../native/index.ts';
import { createLog } from '../../../src/lib/log.ts';
import { encode, handoverVersion } from '../../../ztunnel/handover/messages.ts';
import { Predecessor, socketsMax } from '../../../ztunnel/handover/predecessor.ts';
import { Successors } from '../../../ztunnel/handover/successors.ts';

const log = createLog('test', 'silent', { write: () => undefined });

function pathFor(t: Test): string {
  const dir = mkdtempSync(join(tmpdir(), 'weft-handover-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  return join(dir, 'handover.sock');
}

const client = { connect: connectPackets, closeFd: closeSync, log };

/** How many descriptors of this process are open at `path`. */
function openAt(path: string): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === path;
    } catch {
      return false;
    }
  }).length;
}

function serve(t: Test, path: string, count = 2) {
  const calls: string[] = [];
  const released = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<string>();
  const server = new Successors(path, {
    listen: listenPackets,
    closeFd: closeSync,
    log,
    sockets: async (uid) => {
      calls.push(uid);
      return new Map(
        Array.from({ length: count }, (_, i) => [`s${i}`, openSync('/etc/hostname', 'r')]),
      );
    },
    release: () => {
      calls.push('release');
      return released.promise;
    },
    replaced: () => {
      calls.push('replaced');
      ended.resolve('replaced');
    },
    takeBack: () => {
      calls.push('take back');
      ended.resolve('take back');
    },
  });
  t.teardown(() => server.close());
  return { server, calls, release: () => released.resolve(), ended: ended.promise };
}

async function found(path: string): Promise<Predecessor> {
  const predecessor = await Predecessor.find(path, client);
  if (predecessor === undefined) {
    throw new Error('nobody was found');
  }
  return predecessor;
}

t.test('where nobody is, there is no predecessor', async (t) => {
  t.equal(await Predecessor.find(pathFor(t), client), undefined);
});

t.test('sockets, the take-over and the end', async (t) => {
  const path = pathFor(t);
  const { server, calls, release, ended } = serve(t, path);
  const before = openAt('/etc/hostname');
  const predecessor = await found(path);
  t.teardown(() => predecessor.close());
  const sockets = await predecessor.sockets('pod-1');
  t.strictSame([...sockets.keys()], ['s0', 's1']);
  t.equal(openAt('/etc/hostname'), before + 2, 'theirs are closed, ours are open');
  for (const fd of sockets.values()) {
    closeSync(fd);
  }
  const taken = predecessor.take().then(() => calls.push('taken'));
  release();
  await taken;
  predecessor.took();
  t.equal(await ended, 'replaced');
  t.strictSame(calls, ['pod-1', 'release', 'taken', 'replaced']);
  t.equal((await predecessor.sockets('pod-2')).size, 2, 'those of DNS are there to its end');
  t.equal(await Predecessor.find(path, client), undefined, 'a node is given away once');
  server.drained(3);
  t.equal(await predecessor.ended, 3);
});

t.test('a successor that ends before it has all gives the node back', async (t) => {
  const path = pathFor(t);
  const { calls, release, ended } = serve(t, path);
  const predecessor = await found(path);
  const taken = predecessor.take();
  release();
  await taken;
  predecessor.close();
  t.equal(await ended, 'take back');
  t.strictSame(calls, ['release', 'take back']);
});

t.test('one that ends while the node is released gives it back behind that', async (t) => {
  const path = pathFor(t);
  const { calls, release, ended } = serve(t, path);
  const said = Promise.withResolvers<void>();
  const packets = connectPackets(path, {
    onMessage: (data) => Buffer.from(data).includes('releasing') && said.resolve(),
    onClose: () => undefined,
  });
  packets.send(encode({ kind: 'hello', version: handoverVersion }));
  packets.send(encode({ kind: 'take' }));
  await said.promise;
  packets.close();
  release();
  t.equal(await ended, 'take back');
  t.strictSame(calls, ['release', 'take back']);
});

t.test('who comes second, and goes before he is refused, does no harm', async (t) => {
  const path = pathFor(t);
  serve(t, path);
  const first = await found(path);
  t.teardown(() => first.close());
  for (let i = 0; i < 12; i += 1) {
    connectPackets(path, { onMessage: () => undefined, onClose: () => undefined }).close();
  }
  t.equal((await first.sockets('pod-1')).size, 2);
});

t.test('what is said to one that is gone is not heard, and no error', async (t) => {
  const path = pathFor(t);
  const { server, release } = serve(t, path);
  const predecessor = await found(path);
  release();
  await predecessor.take();
  predecessor.close();
  server.drained(1);
  const other = pathFor(t);
  const { server: gone } = serve(t, other);
  const left = await found(other);
  gone.close();
  t.equal((await left.sockets('pod-1')).size, 0);
  left.took();
});

t.test('one that has given up is not given the node', async (t) => {
  const path = pathFor(t);
  const { calls } = serve(t, path);
  const packets = connectPackets(path, { onMessage: () => undefined, onClose: () => undefined });
  packets.send(encode({ kind: 'hello', version: handoverVersion }));
  packets.send(encode({ kind: 'take' }));
  packets.close();
  let next: Predecessor | undefined;
  while (next === undefined) {
    next = await Predecessor.find(path, client).catch(() => undefined);
  }
  next.close();
  t.strictSame(calls, []);
});

t.test('where only the connection is gone nothing is taken', async (t) => {
  const path = pathFor(t);
  serve(t, path);
  const predecessor = await found(path);
  predecessor.close();
  await predecessor.lost;
  await t.rejects(predecessor.take(), { code: 'conflict', message: /goes on/ });
  predecessor.took();
});

t.test('one that is gone has no sockets, and may be replaced', async (t) => {
  const path = pathFor(t);
  const { server } = serve(t, path);
  const predecessor = await found(path);
  server.close();
  t.equal(await predecessor.ended, undefined);
  t.equal((await predecessor.sockets('pod-1')).size, 0);
  await predecessor.take();
});

t.test('there is one successor at a time, and one that goes makes room', async (t) => {
  const path = pathFor(t);
  const { calls } = serve(t, path);
  const first = await found(path);
  await t.rejects(Predecessor.find(path, client), {
    code: 'conflict',
    message: new RegExp(`process ${process.pid} takes over already`),
  });
  t.equal((await first.sockets('pod-1')).size, 2, 'the first is none the worse');
  first.close();
  let second: Predecessor | undefined;
  // The other end hears of the end of the first in its own time.
  while (second === undefined) {
    second = await Predecessor.find(path, client).catch(() => undefined);
  }
  t.teardown(() => second?.close());
  t.equal((await second.sockets('pod-2')).size, 2);
  t.strictSame(calls, ['pod-1', 'pod-2']);
});

t.test('more sockets than a pod can have end it, and none stays open', async (t) => {
  const path = pathFor(t);
  serve(t, path, socketsMax + 1);
  const before = openAt('/etc/hostname');
  const predecessor = await found(path);
  t.equal((await predecessor.sockets('pod-1')).size, 0);
  await predecessor.ended;
  t.equal(openAt('/etc/hostname'), before);
});

const wrong: readonly (readonly [string, Uint8Array])[] = [
  ['no JSON', Buffer.from('{')],
  ['no message', Buffer.from('{"kind":"give me all"}')],
  ['a field too many', Buffer.from('{"kind":"take","now":true}')],
  ['a uid that is none', Buffer.from(`{"kind":"sockets","uid":"${'x'.repeat(300)}"}`)],
  ['a question before the greeting', encode({ kind: 'take' })],
];

for (const [name, packet] of wrong) {
  t.test(`a successor that says ${name} is shown the door`, async (t) => {
    const path = pathFor(t);
    const { calls } = serve(t, path);
    const closed = Promise.withResolvers<string>();
    const packets = connectPackets(path, { onMessage: () => undefined, onClose: closed.resolve });
    packets.send(packet);
    await closed.promise;
    t.strictSame(calls, []);
    const next = await found(path);
    next.close();
  });
}

t.test('another version is refused, and told why', async (t) => {
  const path = pathFor(t);
  serve(t, path);
  const said = Promise.withResolvers<string>();
  const packets = connectPackets(path, {
    onMessage: (data) => said.resolve(Buffer.from(data).toString()),
    onClose: () => undefined,
  });
  t.teardown(() => packets.close());
  packets.send(encode({ kind: 'hello', version: handoverVersion + 1 }));
  t.match(await said.promise, /"refused".*stop it first/);
});

async function pretender(t: Test, path: string, packet: Uint8Array | undefined): Promise<void> {
  const listener = listenPackets(path, (packets) => ({
    onMessage: () => {
      if (packet !== undefined) {
        packets.send(packet);
      }
    },
    onClose: () => undefined,
  }));
  t.teardown(() => listener.close());
}

t.test('a predecessor that is none is not waited for', async (t) => {
  const path = pathFor(t);
  await pretender(t, path, Buffer.from('{"kind":"welcome"}'));
  t.equal(await Predecessor.find(path, client), undefined);
});

t.test('one that does not answer is an error', { timeout: 20_000 }, async (t) => {
  const path = pathFor(t);
  await pretender(t, path, undefined);
  await t.rejects(Predecessor.find(path, client), { code: 'timeout' });
});

t.test('another kind of socket at the path is nobody', async (t) => {
  const path = pathFor(t);
  const server = createServer().listen(path);
  t.teardown(() => server.close());
  await once(server, 'listening');
  t.equal(await Predecessor.find(path, client), undefined);
});
