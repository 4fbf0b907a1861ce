// SPDX-License-Identifier: Apache-2.0
// The packet sockets of the addon, against Python's own.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { fstatSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  closeFd,
  connectPackets,
  isNetns,
  listenPackets,
  openPath,
  type Packets,
} from '../../native/index.ts';

function socketPath(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'weft-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  return join(folder, 's');
}

/** Runs Python with `path` as its first argument. */
function python(path: string, program: string): ChildProcess {
  const text = `import socket,sys\ndef dial():\n s=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET)\n s.connect(sys.argv[1])\n return s\n${program}`;
  return spawn('/usr/bin/python3', ['-c', text, path], { stdio: ['pipe', 'inherit', 'inherit'] });
}

t.test('carries packets and descriptors both ways, whole and in order', async (t) => {
  const path = socketPath(t);
  const seen: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  let inode = 0;
  const listener = listenPackets(path, (socket) => ({
    onMessage: (data, fds) => {
      seen.push(`${Buffer.from(data)} ${fds.length}`);
      for (const fd of fds) {
        inode = fstatSync(fd).ino;
        closeFd(fd);
      }
      socket.send(Buffer.from(`got ${seen.length}`));
    },
    onClose: () => resolve(),
  }));
  t.teardown(() => listener.close());
  const answers: string[] = [];
  const client: Packets = connectPackets(path, {
    onMessage: (data) => {
      answers.push(`${Buffer.from(data)}`);
      if (answers.length === 2) {
        client.close();
      }
    },
    onClose: () => undefined,
  });
  const fd = openPath('/proc/self/ns/net');
  client.send(Buffer.from('one'));
  client.send(Buffer.from('two'), fd);
  closeFd(fd);
  await promise;
  t.strictSame(seen, ['one 0', 'two 1']);
  t.strictSame(answers, ['got 1', 'got 2']);
  t.equal(inode, statSync('/proc/self/ns/net').ino, 'the descriptor is the same namespace');
  t.equal(client.pid, process.pid);
  t.throws(() => client.send(Buffer.from('late')), { code: 'unavailable' });
});

t.test('a packet that had to be cut ends the connection, and leaves nothing open', async (t) => {
  const path = socketPath(t);
  const messages: string[] = [];
  const reasons: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const listener = listenPackets(path, () => ({
    onMessage: (data) => void messages.push(`${data.length}`),
    onClose: (reason) => {
      reasons.push(reason);
      if (reasons.length === 2) {
        resolve();
      }
    },
  }));
  t.teardown(() => listener.close());
  const before = readdirSync('/proc/self/fd').length;
  const peer = python(
    path,
    `import array
for data, count in ((b'x' * 5000, 1), (b'x', 5)):
  s = dial()
  fds = array.array('i', [0] * count)
  s.sendmsg([b'good'])
  s.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
  assert s.recv(10) == b''
`,
  );
  const exit = once(peer, 'exit');
  await promise;
  t.same(await exit, [0, null]);
  t.strictSame(messages, ['4', '4']);
  t.match(reasons, [/too long, or had too many/, /too long, or had too many/]);
  t.ok(readdirSync('/proc/self/fd').length <= before);
});

t.test(
  'a peer that sends without waiting is cut off, also while this thread is busy',
  async (t) => {
    const path = socketPath(t);
    const waitingMax = 64;
    const sends = 1000;
    const seen = { packets: 0, reason: '' };
    const { promise, resolve } = Promise.withResolvers<void>();
    const listener = listenPackets(path, (socket) => {
      // Never gives the thread free; a socket that is cut off takes what its buffer takes.
      const end = performance.now() + 300;
      for (let sent = 0; sent < sends && performance.now() < end; ) {
        try {
          socket.send(Buffer.from('x'));
          sent += 1;
        } catch {}
      }
      socket.close();
      return { onMessage: () => undefined, onClose: () => undefined };
    });
    t.teardown(() => listener.close());
    connectPackets(path, {
      onMessage: () => {
        seen.packets += 1;
      },
      onClose: (reason) => {
        seen.reason = reason;
        resolve();
      },
    });
    await promise;
    t.match(seen, { packets: waitingMax, reason: /does not wait/ });
  },
);

t.test('tells a network namespace from everything else', async (t) => {
  const paths = { '/proc/self/ns/net': true, '/proc/self/ns/mnt': false, '/etc/hosts': false };
  for (const [path, expected] of Object.entries(paths)) {
    const fd = openPath(path);
    t.equal(isNetns(fd), expected, path);
    closeFd(fd);
  }
  t.equal(isNetns(-1), false);
});

t.test('outlives a peer that goes on sending after the end', async (t) => {
  const path = socketPath(t);
  const closed: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  let connected = 0;
  const listener = listenPackets(path, () => {
    connected += 1;
    if (connected === 20) {
      setImmediate(beBusy);
    }
    return {
      onMessage: () => undefined,
      onClose: (reason) => {
        closed.push(reason);
        if (closed.length === 20) {
          resolve();
        }
      },
    };
  });
  t.teardown(() => listener.close());
  // The main thread learns of the ends late: only the packet thread sees them as they happen.
  function beBusy(): void {
    peer.stdin?.write('go\n');
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);
  }
  // An empty packet reads as the end of a connection that is not at its end.
  const peer = python(
    path,
    `all=[dial() for _ in range(20)]
sys.stdin.readline()
for s in all: s.send(b'')
for r in range(50):
 for s in all:
  try: s.send(b'after')
  except OSError: pass
`,
  );
  const [code] = await once(peer, 'exit');
  t.equal(code, 0);
  await promise;
  t.equal(closed.length, 20);
});

t.test('can listen again at once where it listened before', async (t) => {
  const path = socketPath(t);
  for (let i = 0; i < 100; i++) {
    listenPackets(path, () => ({ onMessage: () => undefined, onClose: () => undefined })).close();
  }
  t.equal(statSync(path).mode & 0o777, 0o600);
});

t.test('does not wait for a writer at a pipe', async (t) => {
  const path = socketPath(t);
  t.equal(spawnSync('mkfifo', [path]).status, 0);
  const fd = openPath(path);
  t.ok(fstatSync(fd).isFIFO());
  closeFd(fd);
});

t.test('says what is wrong', async (t) => {
  const path = socketPath(t);
  const handlers = { onMessage: () => undefined, onClose: () => undefined };
  t.throws(() => connectPackets(path, handlers), { code: 'unavailable' });
  t.throws(() => connectPackets('x'.repeat(200), handlers), { code: 'invalid' });
  t.throws(() => openPath(join(path, 'nothing')), { code: 'unavailable' });
  const listener = listenPackets(path, () => handlers);
  t.teardown(() => listener.close());
  t.throws(() => listenPackets(path, () => handlers), { code: 'unavailable' });
});
