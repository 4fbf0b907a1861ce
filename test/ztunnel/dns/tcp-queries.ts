// SPDX-License-Identifier: Apache-2.0
// A client by TCP on the loopback of this machine. Its limit of time is the subject here.
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { pipelineMax, type TakeQuery, TcpQueries } from '../../../ztunnel/dns/tcp-queries.ts';
import { framed } from '../../../ztunnel/dns/upstream.ts';

const timeoutMs = 400;

async function setUp(t: Test, query: TakeQuery): Promise<Socket> {
  const server = createServer((socket) => new TcpQueries(socket, query, timeoutMs));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const client = connect({ port, host: '127.0.0.1', noDelay: true });
  client.on('error', () => undefined);
  t.teardown(() => {
    client.destroy();
    server.close();
  });
  await once(client, 'connect');
  return client;
}

const echo: TakeQuery = (bytes, reply, done) => {
  reply(bytes);
  done();
};

t.test('a query that takes too long ends the connection, byte by byte too', async (t) => {
  const client = await setUp(t, echo);
  const began = performance.now();
  const closed = once(client, 'close');
  const query = framed(Buffer.alloc(1000));
  let sent = 0;
  let open = true;
  closed.then(() => {
    open = false;
  });
  while (open && sent < query.length - 1) {
    client.write(query.subarray(sent, ++sent));
    await wait(20);
  }
  await closed;
  const tookMs = performance.now() - began;
  t.ok(tookMs >= timeoutMs && tookMs < 10 * timeoutMs, `closed after ${tookMs} ms`);
  t.ok(sent < query.length - 1, `${sent} bytes sent`);
});

t.test('and so does its length alone', async (t) => {
  const client = await setUp(t, echo);
  client.write(Buffer.from([0]));
  await once(client, 'close');
});

t.test('each query has the whole time, and what is between them counts for none', async (t) => {
  const client = await setUp(t, echo);
  const query = framed(Buffer.from('a query'));
  const began = performance.now();
  while (performance.now() - began < 3 * timeoutMs) {
    client.write(query.subarray(0, 4));
    await wait(timeoutMs / 8);
    // The end of one and the beginning of the next.
    client.write(Buffer.concat([query.subarray(4), query.subarray(0, 1)]));
    const [answer] = await once(client, 'data');
    t.same(answer, query);
    client.write(query.subarray(1));
    t.same((await once(client, 'data'))[0], query);
    await wait(timeoutMs / 8);
  }
  await wait(2 * timeoutMs);
  t.notOk(client.closed, 'an idle one has longer');
});

t.test('nobody waits for a client that waits for us', async (t) => {
  const finish: (() => void)[] = [];
  const client = await setUp(t, (bytes, reply, done) => {
    finish.push(() => {
      reply(bytes);
      done();
    });
  });
  const query = framed(Buffer.from('a query'));
  const many = Array.from({ length: pipelineMax }, () => query);
  client.write(Buffer.concat([...many, query.subarray(0, 5)]));
  while (finish.length < pipelineMax) {
    await wait(5);
  }
  await wait(2 * timeoutMs);
  t.notOk(client.closed);
  t.equal(finish.length, pipelineMax, 'and no more of it is taken');
  client.resume();
  const closed = once(client, 'close');
  const began = performance.now();
  for (const each of finish) {
    each();
  }
  await closed;
  t.ok(performance.now() - began >= timeoutMs - 5, 'its time begins when it is read again');
});
