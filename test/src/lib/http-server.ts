// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { MeshError } from '../../../src/lib/error.ts';
import {
  closeHttpServer,
  connectionsMax,
  createHttpServer,
  headerBytesMax,
  jsonAnswer,
  textAnswer,
} from '../../../src/lib/http-server.ts';

async function serve(t: Test): Promise<{ port: number; url: string }> {
  const server = createHttpServer({
    '/text': { GET: () => textAnswer(200, 'hello\n') },
    '/json': { GET: (query) => jsonAnswer({ a: query.get('a') }), POST: () => jsonAnswer({}) },
    '/bad': {
      GET: () => {
        throw new MeshError('invalid', 'a is missing');
      },
    },
    '/broken': { GET: () => Promise.reject(new Error('the secret reason')) },
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => closeHttpServer(server));
  const { port } = server.address() as AddressInfo;
  return { port, url: `http://127.0.0.1:${port}` };
}

t.test('paths are answered with their query', async (t) => {
  const { url } = await serve(t);
  const text = await fetch(`${url}/text`);
  t.equal(text.status, 200);
  t.equal(text.headers.get('content-type'), 'text/plain; charset=utf-8');
  t.equal(await text.text(), 'hello\n');
  t.same(await (await fetch(`${url}/json?a=1%2F2`)).json(), { a: '1/2' });
});

t.test('other paths are not there, whatever an object knows', async (t) => {
  const { url } = await serve(t);
  for (const path of ['/', '/x', '/text/', '/__proto__', '/constructor', '/toString']) {
    t.equal((await fetch(`${url}${path}`)).status, 404, path);
  }
});

t.test('other methods are told which would do', async (t) => {
  const { url } = await serve(t);
  for (const method of ['POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'PATCH']) {
    const answer = await fetch(`${url}/text`, { method });
    t.equal(answer.status, 405, method);
    t.equal(answer.headers.get('allow'), 'GET');
  }
  const both = await fetch(`${url}/json`, { method: 'DELETE' });
  t.equal(both.headers.get('allow'), 'GET, POST');
});

t.test('an error is answered by its code; what broke inside is not told', async (t) => {
  const { url } = await serve(t);
  const bad = await fetch(`${url}/bad`);
  t.equal(bad.status, 400);
  t.equal(await bad.text(), 'a is missing\n');
  const broken = await fetch(`${url}/broken`);
  t.equal(broken.status, 500);
  t.equal(await broken.text(), 'internal error\n');
});

t.test('a body is not read: the answer comes and the connection ends', async (t) => {
  const { port } = await serve(t);
  const socket = connect(port, '127.0.0.1');
  socket.write('POST /json HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n');
  let text = '';
  for await (const piece of socket) {
    text += String(piece);
  }
  t.match(text, /^HTTP\/1\.1 200 /);
  t.match(text, /connection: close/i);
});

t.test('headers over the limit are refused', async (t) => {
  const { port } = await serve(t);
  const head = (length: number): string =>
    `GET /text HTTP/1.1\r\nhost: x\r\nx: ${'a'.repeat(length)}\r\nconnection: close\r\n\r\n`;
  const ask = async (text: string): Promise<string> => {
    const socket = connect(port, '127.0.0.1');
    socket.write(text);
    let answer = '';
    for await (const piece of socket) {
      answer += String(piece);
    }
    return answer;
  };
  t.match(await ask(head(headerBytesMax - 200)), /^HTTP\/1\.1 200 /);
  t.match(await ask(head(headerBytesMax + 1)), /^HTTP\/1\.1 431 /);
});

t.test('connections over the limit are dropped, and the others served', async (t) => {
  const { port, url } = await serve(t);
  const sockets = Array.from({ length: connectionsMax }, () => connect(port, '127.0.0.1'));
  await Promise.all(sockets.map((socket) => once(socket, 'connect')));
  await t.rejects(fetch(`${url}/text`));
  const [first] = sockets;
  first?.write('GET /text HTTP/1.1\r\nhost: x\r\n\r\n');
  const [answer] = await once(first as Socket, 'data');
  t.match(String(answer), /200 OK/);
  for (const socket of sockets) {
    socket.destroy();
  }
});
