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
  const server = createServer(
    { allowHalfOpen: true },
    (socket) => new TcpQueries(socket, query, timeoutMs),
  );
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

/** Holds each query back until it is told to answer them. */
function later(): { readonly query: TakeQuery; readonly finish: (() => void)[] } {
  const finish: (() => void)[] = [];
  const query: TakeQuery = (bytes, reply, done) => {
    finish.push(() => {
      reply(bytes);
      done();
    });
  };
  return { query, finish };
}

/** Its end in whichever way: the kernel resets what is closed with bytes unread. */
function closeOf(client: Socket): Promise<void> {
  return new Promise((resolve) => {
    client.once('close', () => resolve());
  });
}

async function untilHeard(finish: readonly unknown[], count: number): Promise<void> {
  while (finish.length < count) {
    await wait(5);
  }
}

t.test('a query that takes too long ends the connection, byte by byte too', async (t) => {
  const client = await setUp(t, echo);
  const began = performance.now();
  const closed = closeOf(client);
  const query = framed(Buffer.alloc(1000));
  let sent = 0;
  let open = true;
  client.once('close', () => {
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
  await closeOf(client);
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
  const { query, finish } = later();
  const client = await setUp(t, query);
  const message = framed(Buffer.from('a query'));
  const many = Array.from({ length: pipelineMax }, () => message);
  client.write(Buffer.concat([...many, message.subarray(0, 5)]));
  await untilHeard(finish, pipelineMax);
  await wait(2 * timeoutMs);
  t.notOk(client.closed);
  t.equal(finish.length, pipelineMax, 'and no more of it is taken');
  client.resume();
  const closed = closeOf(client);
  const began = performance.now();
  for (const each of finish) {
    each();
  }
  await closed;
  t.ok(performance.now() - began >= timeoutMs - 5, 'its time begins when it is read again');
});

t.test('a client that ends behind its queries gets all answers, then the end', async (t) => {
  const { query, finish } = later();
  const client = await setUp(t, query);
  const message = framed(Buffer.from('a query'));
  const many = Array.from({ length: pipelineMax + 3 }, () => message);
  const chunks: Buffer[] = [];
  client.on('data', (more: Buffer) => chunks.push(more));
  const ended = once(client, 'end');
  client.end(Buffer.concat(many));
  await untilHeard(finish, pipelineMax);
  await wait(2 * timeoutMs);
  t.notOk(client.readableEnded, 'answers are late');
  for (const each of finish.splice(0)) {
    each();
  }
  await untilHeard(finish, 3);
  t.notOk(client.readableEnded, 'some wait still');
  for (const each of finish.splice(0)) {
    each();
  }
  await ended;
  t.same(Buffer.concat(chunks), Buffer.concat(many));
});

t.test('half a query of a client that has ended holds nobody up', async (t) => {
  const { query, finish } = later();
  const client = await setUp(t, query);
  const message = framed(Buffer.from('a query'));
  client.end(Buffer.concat([message, message.subarray(0, 4)]));
  await untilHeard(finish, 1);
  await wait(2 * timeoutMs);
  t.notOk(client.readableEnded, 'the answer to the whole one is waited for');
  const answered = once(client, 'data');
  const ended = once(client, 'end');
  finish[0]?.();
  t.same((await answered)[0], message);
  await ended;
});

t.test('a client that says nothing but its end is let go', async (t) => {
  const client = await setUp(t, echo);
  const ended = once(client, 'end');
  client.resume();
  client.end();
  await ended;
});
