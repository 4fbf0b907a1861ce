// SPDX-License-Identifier: Apache-2.0
// The outbound side of the proxy against an HBONE server that shares no code with Weft (Python's h2
// and ssl), good and bad. Needs root.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname } from 'node:path';
import t, { type Test } from 'tap';
import {
  type ConnectionEvent,
  Direction,
  type EngineOptions,
  Kind,
  Reason,
} from '../../../native/index.ts';
import { runProgram } from '../../../src/lib/program.ts';
import {
  type BarePod,
  MeshPair,
  type MeshPod,
  spiffeId,
  workloadOf,
} from '../../support/mesh-pair.ts';
import { HboneServer, identity } from '../../support/peers.ts';
import { SocketError } from '../../support/pod-app.ts';
import { type LeafFiles, TestCa } from '../../support/test-ca.ts';

const bulkBytes = 64 << 20;
const hbone = '10.9.0.2:15008';
const marker = 'what must never leave in plaintext';

interface Setting {
  readonly pair: MeshPair;
  readonly client: MeshPod;
  readonly pod: BarePod;
}

async function startClient(t: Test, engine: EngineOptions = {}): Promise<Setting> {
  const pair = await MeshPair.start(t, { server: 'bare', engine });
  return { pair, client: pair.client, pod: pair.serverPod };
}

async function serve(
  t: Test,
  { pair, pod }: Setting,
  leaf: LeafFiles | Promise<LeafFiles>,
  mode: readonly string[] = ['--forward'],
  address = '0.0.0.0',
): Promise<HboneServer> {
  const proof = identity(await leaf, pair.ca.rootFile);
  const options = ['--listen', `${address}:15008`, ...mode, ...proof];
  const server = await HboneServer.start(options, pod.inside);
  t.teardown(() => server.stop());
  return server;
}

const closed = (event: ConnectionEvent): boolean => event.kind === Kind.CLOSED;
const refused = (event: ConnectionEvent): boolean => event.kind === Kind.REFUSED;

t.test('a server of another implementation is reached', async (t) => {
  const setting = await startClient(t);
  const { pair, client, pod } = setting;
  const server = await serve(t, setting, pair.ca.issue(spiffeId('server')));

  t.test('with a CONNECT that says who calls and what for', async (t) => {
    await pod.app.listen(8080);
    await pod.app.sniff();
    const [near, far] = await pair.connect(8080);
    await near.write(marker);
    t.equal(await far.read(marker.length), marker);
    const seen = await pod.app.sniffed(marker);
    t.equal(seen.holding, 0);
    t.ok(seen.frames > 0);
    await near.end();
    await far.write('answer');
    await far.end();
    t.equal((await near.readAll()).text, 'answer');
    t.match(await server.next(), {
      event: 'request',
      method: 'CONNECT',
      authority: '10.9.0.2:8080',
      client_uris: [spiffeId('client')],
      client_address: '10.9.0.1',
      headers: {
        baggage: /k8s\.namespace\.name=demo/,
        forwarded: /^for=/,
        traceparent: /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/,
      },
    });
    t.match(await server.next(), { event: 'end', received: marker.length, sent: 6, error: null });
    t.match(await client.events.take(closed), {
      direction: Direction.OUTBOUND,
      destinationAddress: '10.9.0.2:8080',
      tunnelAddress: hbone,
      sourceIdentity: spiffeId('client'),
      destinationIdentity: spiffeId('server'),
      sourceWorkload: 'client',
      destinationWorkload: 'server',
      bytesSent: BigInt(marker.length),
      bytesReceived: 6n,
      mutualTls: true,
      reason: Reason.NONE,
    });
  });

  t.test('over IPv6', async (t) => {
    const leaf = pair.ca.issue(spiffeId('server'));
    const six = await serve(t, setting, leaf, ['--forward'], '[::]');
    const [near, far] = await pair.connect(8080, pod.ipv6);
    await near.end();
    await far.end();
    t.equal((await near.readAll()).text, '');
    t.match(await six.next(), { authority: '[fd09::2]:8080', client_address: 'fd09::1' });
    t.match(await six.next(), { event: 'end', error: null });
  });

  t.test('by curl', async (t) => {
    const options = ['--silent', '--show-error', '--max-time', '10'];
    const [first, ...rest] = [...client.inside, 'curl', ...options, 'http://10.9.0.2:8080/'];
    const curl = runProgram(first ?? '', rest);
    const far = await pod.app.accept(8080);
    t.match(await far.read(16), 'GET / HTTP/1.1\r\n');
    await far.write('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello');
    await far.end();
    t.match(await curl, { code: 0, stdout: 'hello' });
    await server.next();
    await server.next();
  });

  t.test('64 MB each way, and the server may end first', async (t) => {
    const [near, far] = await pair.connect(8080);
    const [down, received] = await Promise.all([
      far.writeRandom(bulkBytes).then(async (totals) => {
        await far.end();
        return totals;
      }),
      near.readAll(),
    ]);
    t.equal(received.received, bulkBytes);
    t.equal(received.receivedSha256, down.sentSha256);
    const [up, taken] = await Promise.all([
      near.writeRandom(bulkBytes).then(async (totals) => {
        await near.end();
        return totals;
      }),
      far.readAll(),
    ]);
    t.equal(taken.received, bulkBytes);
    t.equal(taken.receivedSha256, up.sentSha256);
    await server.next();
    t.match(await server.next(), { received: bulkBytes, sent: bulkBytes, error: null });
  });
});

/** How an application fares that sends the marker as soon as it can. */
async function attempt(client: MeshPod, host = '10.9.0.2'): Promise<string> {
  try {
    const stream = await client.app.connect(host, 8080);
    await stream.write(marker);
    return await stream.failure();
  } catch (error) {
    return error instanceof SocketError ? error.message : String(error);
  }
}

/** The application's connection is reset, why is reported, and the link saw none of its bytes. */
async function fails(t: Test, setting: Setting, reason: Reason, detail: RegExp): Promise<void> {
  const { client, pod } = setting;
  await pod.app.sniff();
  t.equal(await attempt(client), 'ECONNRESET');
  const seen = await pod.app.sniffed(marker);
  t.ok(seen.frames > 0);
  t.equal(seen.holding, 0);
  const event = await client.events.take(refused);
  t.equal(event.reason, reason);
  t.match(event.detail, detail);
  t.match(event, {
    sourceIdentity: spiffeId('client'),
    destinationIdentity: spiffeId('server'),
    tunnelAddress: hbone,
    destinationAddress: '10.9.0.2:8080',
  });
}

t.test('a server that proves nothing gets nothing', async (t) => {
  const setting = await startClient(t, { handshakeTimeoutMs: 300 });
  const { pair, client, pod } = setting;
  await pod.app.listen(8080);
  const other = await TestCa.create(dirname(pair.ca.rootFile), 'other');
  const attempts: [name: string, leaf: Promise<LeafFiles>, detail: RegExp][] = [
    ['another identity', pair.ca.issue(spiffeId('other')), /ns\/demo\/sa\/other was not expected/],
    ['another authority', other.issue(spiffeId('server')), /self signed certificate in/],
    ['an expired certificate', pair.ca.issue(spiffeId('server'), { expired: true }), /expired/],
    [
      'a right for clients only',
      pair.ca.issue(spiffeId('server'), { onlyFor: 'client' }),
      /purpose/,
    ],
    ['another trust domain', pair.ca.issue('spiffe://b/ns/demo/sa/server'), /foreign trust domain/],
  ];
  for (const [index, [name, leaf, detail]] of attempts.entries()) {
    t.test(name, async (t) => {
      const server = await serve(t, setting, leaf);
      await fails(t, setting, Reason.IDENTITY, detail);
      t.equal(client.engine.counters()['tunnels_failed_identity'], BigInt(index + 1));
      await server.stop();
    });
  }

  t.test('an older TLS', async (t) => {
    const leaf = await pair.ca.issue(spiffeId('server'));
    const options = ['-accept', '15008', '-tls1_2', '-cert', leaf.cert, '-key', leaf.key];
    const [first, ...rest] = [...pod.inside, 'openssl', 's_server', ...options];
    const server = spawn(first ?? '', rest, { stdio: ['pipe', 'pipe', 'ignore'] });
    const gone = once(server, 'close');
    t.teardown(async () => {
      server.kill('SIGKILL');
      await gone;
    });
    await once(server.stdout, 'data');
    await fails(t, setting, Reason.TLS, /PROTOCOL_VERSION/i);
  });
});

t.test('a server that is not there, or silent', async (t) => {
  const setting = await startClient(t, { connectTimeoutMs: 400, handshakeTimeoutMs: 300 });
  const { client, pod } = setting;
  await fails(t, setting, Reason.CONNECT, /10\.9\.0\.2:15008: .*refused/);

  await pod.app.listen(15008);
  const silent = pod.app.accept(15008);
  const before = Date.now();
  await fails(t, setting, Reason.TLS, /the TLS handshake took too long/);
  // Timers count from the beginning of a turn, in whole milliseconds.
  t.ok(Date.now() - before >= 250);
  t.match((await (await silent).read(3)).slice(0, 2), '\x16\x03', 'it was asked for TLS');

  // Its frames reach the other pod, which has no such address and drops them.
  const neighbour = ['neighbour', 'add', '10.9.0.9', 'lladdr', '02:00:00:00:00:02', 'dev', 'eth0'];
  const [first, ...rest] = [...client.inside, 'ip', ...neighbour];
  t.match(await runProgram(first ?? '', rest), { code: 0 });
  const nowhere = {
    ...workloadOf('server'),
    uid: 'nowhere',
    addresses: [Uint8Array.of(10, 9, 0, 9)],
  };
  client.engine.apply({ workloads: [nowhere] });
  t.equal(await attempt(client, '10.9.0.9'), 'ECONNRESET');
  const event = await client.events.take(refused);
  t.match(event, { reason: Reason.CONNECT, detail: 'connect to 10.9.0.9:15008 took too long' });
  t.ok(event.durationUs >= 350_000n && event.durationUs < 10_000_000n);
  t.equal(client.engine.counters()['tunnels_timed_out'], 2n);
});

t.test("a server's SETTINGS are acknowledged", async (t) => {
  const setting = await startClient(t, { tunnelIdleMs: 0 });
  const { pair, pod } = setting;
  const leaf = pair.ca.issue(spiffeId('server'));
  const server = await serve(t, setting, leaf, ['--forward', '--late', '--tell-settled']);
  await pod.app.listen(8080);

  t.test('though the application says nothing', async (t) => {
    const [near, far] = await pair.connect(8080);
    t.equal((await server.next()).event, 'request');
    t.equal((await server.next()).event, 'answered');
    t.match(await server.next(), { event: 'settled', alone: true });
    await Promise.all([near.end(), far.end()]);
    t.equal((await near.readAll()).text, '');
    t.match(await server.next(), { event: 'end', error: null });
  });

  t.test('with what it says soon, if that is its end', async (t) => {
    let together = 0;
    for (let i = 0; i < 20; i++) {
      const [near, far] = await pair.connect(8080);
      t.equal((await server.next()).event, 'request');
      t.equal((await server.next()).event, 'answered');
      await Promise.all([near.end(), far.end()]);
      const next = [await server.next(), await server.next()];
      t.strictSame(next.map(({ event }) => event).sort(), ['end', 'settled']);
      together += next.some(({ alone }) => alone === false) ? 1 : 0;
    }
    // A machine in trouble may take longer than the proxy waits; one that never waits has none.
    t.ok(together >= 5, `${together} of 20`);
  });
});

t.test('what a server says of itself changes nothing', async (t) => {
  const setting = await startClient(t);
  const { pair, client, pod } = setting;
  const leaf = await pair.ca.issue(spiffeId('server'));
  const texts = [
    'k8s.namespace.name=elsewhere,k8s.deployment.name=other',
    '%zz,=,;;,k8s.namespace.name',
    `service.name=${'x'.repeat(12_000)}`,
  ];
  for (const text of texts) {
    const said = ['--header', `baggage=${text}`];
    const server = await serve(t, setting, leaf, ['--echo', ...said]);
    const near = await client.app.connect(pod.ipv4, 8080);
    await near.write('hello');
    t.equal(await near.read(5), 'hello', text.slice(0, 40));
    await near.end();
    t.equal((await near.readAll()).text, '');
    t.match(await client.events.take(closed), {
      ...{ destinationWorkload: 'server', reason: Reason.NONE },
    });
    await server.stop();
  }
});

t.test('a server that refuses is a reset for the application', async (t) => {
  const setting = await startClient(t);
  const leaf = await setting.pair.ca.issue(spiffeId('server'));
  for (const [status, reason] of [
    [401, Reason.DENIED],
    [403, Reason.CONNECT],
    [503, Reason.CONNECT],
  ] as const) {
    t.test(`with ${status}`, async (t) => {
      const server = await serve(t, setting, leaf, ['--answer', String(status)]);
      t.equal(await attempt(setting.client), 'ECONNRESET');
      const event = await setting.client.events.take(refused);
      t.match(event, { reason, detail: `the peer answered ${status}` });
      await server.stop();
    });
  }
});

t.test('a server that goes', async (t) => {
  const setting = await startClient(t);
  const { pair, client, pod } = setting;
  const leaf = await pair.ca.issue(spiffeId('server'));
  await pod.app.listen(8080);

  t.test('at once, is a reset, not an end that would say all came', async (t) => {
    const server = await serve(t, setting, leaf);
    const [near, far] = await pair.connect(8080);
    await far.write('half');
    t.equal(await near.read(4), 'half');
    await server.stop();
    t.equal(await near.failure(), 'ECONNRESET');
    t.match(await client.events.take(closed), { reason: Reason.RESET });
  });

  t.test('with GOAWAY, keeps what is open and gets nothing new', async (t) => {
    const server = await serve(t, setting, leaf);
    const [near, far] = await pair.connect(8080);
    await near.write('before');
    t.equal(await far.read(6), 'before');
    await server.next();
    const gone = server.drain();
    t.equal((await server.next()).event, 'draining');
    await near.write('after');
    t.equal(await far.read(5), 'after');
    t.equal(await client.app.failure(pod.ipv4, 8080), 'ECONNRESET', 'a new tunnel is refused');
    await near.end();
    await far.end();
    t.equal((await near.readAll()).text, '');
    t.match(await client.events.take(closed), { reason: Reason.NONE });
    t.equal(await gone, 0, 'the tunnel is closed once it is idle');
  });
});

t.test('a stream that the server did not touch is tried again', async (t) => {
  const start = async (t: Test, ...mode: string[]): Promise<MeshPair> => {
    const setting = await startClient(t);
    const { pair } = setting;
    await serve(t, setting, pair.ca.issue(spiffeId('server')), ['--echo', ...mode]);
    return pair;
  };

  t.test('with all that the application said', async (t) => {
    const { client, serverPod } = await start(t, '--refuse', '2', '--refuse-after', '5');
    const near = await client.app.connect(serverPod.ipv4, 8080);
    await near.write('hello');
    t.equal(await near.read(5), 'hello');
    await near.write(' again');
    t.equal(await near.read(6), ' again');
    t.equal(client.engine.counters()['connects_retried'], 2n);
    await near.end();
    t.equal((await near.readAll()).text, '');
    t.match(await client.events.take(closed), { bytesSent: 11n, bytesReceived: 11n });
    t.strictSame(client.events.kept.filter(refused), []);
  });

  t.test('when a GOAWAY left it out, in another tunnel', async (t) => {
    const { client, serverPod } = await start(t, '--refuse', '1', '--refuse-by-goaway');
    const near = await client.app.connect(serverPod.ipv4, 8080);
    await near.write('hello');
    t.equal(await near.read(5), 'hello');
    t.equal(client.engine.counters()['connects_retried'], 1n);
    t.equal(client.engine.counters()['tunnels_opened'], 2n);
    await near.end();
    t.equal((await near.readAll()).text, '');
  });

  t.test('but not for ever', async (t) => {
    const { client, serverPod } = await start(t, '--refuse', '9');
    const near = await client.app.connect(serverPod.ipv4, 8080);
    await near.write('hello');
    t.equal(await near.failure(), 'ECONNRESET');
    t.equal(client.engine.counters()['connects_retried'], 2n);
    await client.events.take(refused);
  });

  t.test('and not when more was said than is kept', async (t) => {
    const { client, serverPod } = await start(t, '--refuse', '1', '--refuse-after', '16385');
    const near = await client.app.connect(serverPod.ipv4, 8080);
    await near.write('x'.repeat(16_385));
    t.equal(await near.failure(), 'ECONNRESET');
    t.equal(client.engine.counters()['connects_retried'], 0n);
  });
});
