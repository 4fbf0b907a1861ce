// SPDX-License-Identifier: Apache-2.0
// A program for pods: holds many connections that do nothing.
//
//   idle.ts serve PORT             echoes, for ever
//   idle.ts open HOST PORT COUNT   opens connections, has a byte echoed on each, prints "open" and
//                                  holds them until it is ended
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { MeshError } from '../../lib/error.ts';

/** What `open` prints once all connections stand. */
export const openLine = 'open';

// So many at a time, so that no backlog overflows.
const batch = 50;

function serve(port: number): void {
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.pipe(socket);
  });
  server.listen({ port, host: '::', backlog: 1024 });
}

async function hold(host: string, port: number): Promise<Socket> {
  const socket = connect({ host, port });
  socket.on('close', () => {
    process.stderr.write('a connection that is held was closed\n');
    process.exit(1);
  });
  await once(socket, 'connect');
  socket.write('x');
  await once(socket, 'data');
  return socket;
}

async function open(host: string, port: number, count: number): Promise<void> {
  for (let left = count; left > 0; left -= batch) {
    await Promise.all(Array.from({ length: Math.min(batch, left) }, () => hold(host, port)));
  }
  process.stdout.write(`${openLine}\n`);
}

if (import.meta.main) {
  const [verb, ...args] = process.argv.slice(2);
  try {
    if (verb === 'serve') {
      serve(Number(args[0]));
    } else {
      await open(args[0] ?? '', Number(args[1]), Number(args[2]));
    }
  } catch (error) {
    process.stderr.write(`${MeshError.from(error).message}\n`);
    process.exit(1);
  }
}
