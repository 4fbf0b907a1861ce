// SPDX-License-Identifier: Apache-2.0
// The independent HBONE peers, against each other: what Weft is judged by has to be right itself.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import t, { type Test } from 'tap';
import { HboneClient, HboneServer, identity, runClient } from './support/peers.ts';
import { type LeafFiles, TestCa } from './support/test-ca.ts';

const clientId = 'spiffe://cluster.local/ns/shop/sa/client';
const serverId = 'spiffe://cluster.local/ns/shop/sa/server';

interface Pair {
  readonly ca: TestCa;
  readonly client: LeafFiles;
  readonly server: HboneServer;
  /** Options of a client that does all right, but for the authority. */
  readonly options: string[];
}

async function startPair(test: Test, mode: '--echo' | '--forward'): Promise<Pair> {
  const ca = await TestCa.create(test.testdir());
  const [client, leaf] = await Promise.all([ca.issue(clientId), ca.issue(serverId)]);
  const listen = ['--listen', '127.0.0.1:0', mode];
  const server = await HboneServer.start([...listen, ...identity(leaf, ca.rootFile)]);
  test.teardown(() => server.stop());
  const options = ['--connect', `127.0.0.1:${server.port}`, ...identity(client, ca.rootFile)];
  return { ca, client, server, options };
}

async function listen(test: Test, server: Server): Promise<string> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  test.teardown(() => server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

t.test('echoes a tunnel, and each side tells what it saw of the other', async (test) => {
  const { server, options } = await startPair(test, '--echo');
  const header = ['--header', 'baggage=k8s.namespace.name=shop', '--header', 'x-a=1'];
  const end = await runClient([...options, '--authority', '10.0.0.9:80', ...header], 'hello');
  test.equal(end.output.toString(), 'hello');
  test.match(end.report, {
    status: 200,
    peer_uris: [serverId],
    tls_version: 'TLSv1.3',
    alpn: 'h2',
    sent: 5,
    received: 5,
    error: null,
  });
  test.equal(end.code, 0);
  test.match(await server.next(), {
    event: 'request',
    method: 'CONNECT',
    authority: '10.0.0.9:80',
    headers: { baggage: 'k8s.namespace.name=shop', 'x-a': '1' },
    client_uris: [clientId],
    client_address: '127.0.0.1',
  });
  test.match(await server.next(), { event: 'end', received: 5, sent: 5, error: null });
});

t.test('carries 8 MB each way without a byte changed', async (test) => {
  const { options } = await startPair(test, '--echo');
  const input = randomBytes(8 << 20);
  const end = await runClient([...options, '--authority', '10.0.0.9:80'], input);
  test.equal(end.report.error, null);
  test.ok(end.output.equals(input));
});

t.test('sends a file instead of standard input', async (test) => {
  const { ca, options } = await startPair(test, '--echo');
  const end = await runClient([...options, '--authority', 'a:1', '--send', ca.rootFile]);
  test.match(end.output.toString(), /^-----BEGIN CERTIFICATE-----/);
});

t.test(
  'forwards to the authority, and the app may go on after the client has ended',
  async (test) => {
    const { options } = await startPair(test, '--forward');
    const app = createServer({ allowHalfOpen: true }, async (socket) => {
      let seen = 0;
      socket.on('data', (chunk) => {
        seen += chunk.length;
      });
      await once(socket, 'end');
      socket.end(`saw ${seen}`);
    });
    const authority = await listen(test, app);
    const end = await runClient([...options, '--authority', authority], Buffer.alloc(100_000));
    test.equal(end.output.toString(), 'saw 100000');
    test.equal(end.report.error, null);
  },
);

t.test('the client may go on after the app has ended', async (test) => {
  const { server, options } = await startPair(test, '--forward');
  const app = createServer({ allowHalfOpen: true });
  const accepted = once(app, 'connection') as Promise<[Socket]>;
  const client = new HboneClient([...options, '--authority', await listen(test, app)]);
  const [socket] = await accepted;
  socket.end('bye');
  const [first] = await once(client.output, 'data');
  test.equal(String(first), 'bye');
  client.input.end('still here');
  const seen: Buffer[] = [];
  for await (const chunk of socket) {
    seen.push(chunk as Buffer);
  }
  test.equal(Buffer.concat(seen).toString(), 'still here');
  test.match((await client.end()).report, { sent: 10, received: 3, error: null });
  await server.next();
  test.match(await server.next(), { event: 'end', received: 10, sent: 3, error: null });
});

t.test('an app that resets its connection is a CONNECT_ERROR', async (test) => {
  const { options } = await startPair(test, '--forward');
  const app = createServer((socket) => socket.once('data', () => socket.resetAndDestroy()));
  const client = new HboneClient([...options, '--authority', await listen(test, app)]);
  client.input.write('x');
  const end = await client.end();
  test.equal(end.report.error, 'reset 10');
  test.equal(end.code, 1);
});

t.test('an authority that cannot be reached is answered with 503', async (test) => {
  const { options } = await startPair(test, '--forward');
  const end = await runClient([...options, '--authority', '127.0.0.1:1']);
  test.match(end.report, { status: 503, error: null });
  test.equal(end.code, 1);
});

t.test('a method that is not CONNECT is answered with 405', async (test) => {
  const { server, options } = await startPair(test, '--echo');
  const end = await runClient([...options, '--authority', 'a:1', '--method', 'GET']);
  test.equal(end.report.status, 405);
  test.match(await server.next(), { method: 'GET' });
});

t.test('a malformed request is reset, and the rule it breaks is told', async (test) => {
  const { server, options } = await startPair(test, '--echo');
  const broken = ['x-A=1', 'connection=close', 'te=gzip', ':path=/', ':authority=b:1', 'x-a= b'];
  for (const header of broken) {
    const end = await runClient([...options, '--authority', 'a:1', '--header', header]);
    test.equal(end.report.error, 'reset 1', header);
    test.equal((await server.next()).event, 'request', header);
    test.equal((await server.next()).event, 'malformed', header);
  }
});

t.test('the client resets its stream with the code it is told', async (test) => {
  const { server, options } = await startPair(test, '--echo');
  const end = await runClient([...options, '--authority', 'a:1', '--rst', '8'], 'x');
  test.match(end.report, { status: 200, sent: 1, error: 'reset 8 by this side' });
  await server.next();
  test.match(await server.next(), { event: 'end', error: 'reset 8' });
});

t.test('several tunnels run at once', async (test) => {
  const { options } = await startPair(test, '--echo');
  const inputs = [1, 2, 3].map((n) => randomBytes(n * 300_000));
  const ends = await Promise.all(
    inputs.map((input) => runClient([...options, '--authority', 'a:1'], input)),
  );
  inputs.forEach((input, index) => {
    test.ok(ends[index]?.output.equals(input));
  });
});

t.test('a tunnel that is open goes on after a GOAWAY', async (test) => {
  const { server, options } = await startPair(test, '--echo');
  const client = new HboneClient([...options, '--authority', 'a:1']);
  client.input.write('before');
  test.equal(String((await once(client.output, 'data'))[0]), 'before');
  await server.next();
  const drained = server.drain();
  test.equal((await server.next()).event, 'draining');
  client.input.end('after');
  const end = await client.end();
  test.match(end.report, { sent: 11, received: 11, goaways: [0], error: null });
  test.equal(await drained, 0);
});

t.test('the client connects from the address it is told', async (test) => {
  const { server, options } = await startPair(test, '--echo');
  await runClient([...options, '--authority', 'a:1', '--bind', '127.0.0.7']);
  test.match(await server.next(), { client_address: '127.0.0.7' });
});

t.test('the server refuses a client that proves nothing it trusts', async (test) => {
  const { ca, options, server } = await startPair(test, '--echo');
  const other = await TestCa.create(dirname(ca.rootFile), 'other');
  const connect = options.slice(0, 2);
  const refused = async (name: string, ...more: string[]): Promise<void> => {
    const end = await runClient([...connect, '--authority', 'a:1', ...more]);
    test.equal(end.report.status, null, name);
    // The alert is lost when the reset that follows it is faster.
    const lost = /^(SSLError|ConnectionResetError|BrokenPipeError|connection closed)/;
    test.match(end.report.error, lost, name);
    test.equal(end.code, 1, name);
  };
  await refused('no certificate', '--no-cert', '--ca', ca.rootFile);
  await refused('another authority', ...identity(await other.issue(clientId), ca.rootFile));
  const expired = await ca.issue(clientId, { expired: true });
  await refused('expired', ...identity(expired, ca.rootFile));
  const early = await ca.issue(clientId, { notYetValid: true });
  await refused('not yet valid', ...identity(early, ca.rootFile));
  const forServers = await ca.issue(clientId, { onlyFor: 'server' });
  await refused('for servers only', ...identity(forServers, ca.rootFile));
  // None of them came as far as a request.
  await runClient([...options, '--authority', 'good:1']);
  test.match(await server.next(), { authority: 'good:1' });
});

t.test('the client refuses a server of another authority', async (test) => {
  const { ca, client, options } = await startPair(test, '--echo');
  const other = await TestCa.create(dirname(ca.rootFile), 'other');
  const connect = options.slice(0, 2);
  const end = await runClient([
    ...connect,
    '--authority',
    'a:1',
    ...identity(client, other.rootFile),
  ]);
  test.match(end.report, { status: null, error: /CERTIFICATE_VERIFY_FAILED/ });
});

t.test('both URI names of a certificate are told', async (test) => {
  const { ca, server, options } = await startPair(test, '--echo');
  const two = await ca.issue(clientId, { secondUri: 'spiffe://other/ns/a/sa/b', isCa: true });
  const connect = options.slice(0, 2);
  await runClient([...connect, '--authority', 'a:1', ...identity(two, ca.rootFile)]);
  test.match(await server.next(), { client_uris: [clientId, 'spiffe://other/ns/a/sa/b'] });
});

t.test('the client offers the protocol it is told, or none', async (test) => {
  const { options } = await startPair(test, '--echo');
  const none = await runClient([...options, '--authority', 'a:1', '--alpn', 'none']);
  test.match(none.report, { alpn: null, status: 200 });
  const end = await runClient([...options, '--authority', 'a:1', '--alpn', 'http/1.1']);
  test.equal(end.report.alpn, null);
});

t.test('a client that waits too long gives up', async (test) => {
  const { options } = await startPair(test, '--echo');
  const client = new HboneClient([...options, '--authority', 'a:1', '--timeout', '0.2']);
  test.match((await client.end()).report, { error: 'timeout' });
});
