// SPDX-License-Identifier: Apache-2.0
// A program for pods: opens a connection to a web server, gets one answer over it and holds it.
//
//   hold.ts HOST PORT   prints {"msg":"held"} once answered, and when it is cut {"msg":"ended","how":
//                       "ECONNRESET"}, or the code of another error, or "FIN" without one
import { once } from 'node:events';
import { connect } from 'node:net';
import { MeshError } from '../lib/error.ts';

function say(msg: string, more: object = {}): void {
  process.stdout.write(`${JSON.stringify({ msg, ...more })}\n`);
}

if (import.meta.main) {
  const [host = '', port = ''] = process.argv.slice(2);
  const socket = connect({ host, port: Number(port) });
  const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()));
  try {
    await once(socket, 'connect');
    socket.write('GET /held HTTP/1.1\r\nHost: held\r\n\r\n');
    await once(socket, 'data');
    say('held');
  } catch (error) {
    say(MeshError.from(error).message);
  }
  // From here on its end is what is looked for, however it comes.
  let how = 'FIN';
  socket.on('error', ({ code }: NodeJS.ErrnoException) => {
    how = code ?? 'unknown';
  });
  socket.resume();
  await closed;
  say('ended', { how });
}
