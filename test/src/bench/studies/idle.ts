// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { openLine } from '../../../../src/bench/studies/idle.ts';

const program = join(import.meta.dirname, '../../../../src/bench/studies/idle.ts');
t.setTimeout(30_000);

async function echoServer(t: Test): Promise<{ port: number; sockets: Socket[] }> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    socket.pipe(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const address = server.address();
  return { port: typeof address === 'object' ? (address?.port ?? 0) : 0, sockets };
}

function open(t: Test, port: number, count: number) {
  const child = spawn(process.execPath, [program, 'open', '127.0.0.1', `${port}`, `${count}`]);
  t.teardown(() => child.kill('SIGKILL'));
  return child;
}

t.test('holds as many connections as it was told, each of which works', async (t) => {
  const { port, sockets } = await echoServer(t);
  const child = open(t, port, 120);
  const [text] = await once(child.stdout, 'data');
  t.equal(String(text), `${openLine}\n`);
  t.equal(sockets.length, 120);
  t.ok(sockets.every((socket) => socket.bytesRead === 1));
});

t.test('fails when a connection that it holds is lost', async (t) => {
  const { port, sockets } = await echoServer(t);
  const child = open(t, port, 3);
  await once(child.stdout, 'data');
  const ended = once(child, 'exit');
  sockets[1]?.destroy();
  t.equal((await ended)[0], 1);
});

t.test('fails when nobody listens', async (t) => {
  const child = open(t, 1, 1);
  t.equal((await once(child, 'exit'))[0], 1);
});
