// SPDX-License-Identifier: Apache-2.0
// The outbound side of the proxy against Envoy as an HBONE server, which terminates CONNECT over
// HTTP/2 and mutual TLS. Skipped where Envoy cannot be had; needs root.
import { dirname } from 'node:path';
import t, { type Test } from 'tap';
import {
  type ConnectionEvent,
  Direction,
  type EngineOptions,
  Kind,
  Reason,
} from '../../../native/index.ts';
import { envoyOrReason, hboneServer, startEnvoy } from '../../support/envoy-peer.ts';
import { MeshPair, type MeshPod, spiffeId } from '../../support/mesh-pair.ts';
import type { AppStream } from '../../support/pod-app.ts';

const bulkBytes = 64 << 20;
const server = '10.9.0.2';

t.setTimeout(120_000);
const envoy = await envoyOrReason();
const skip = 'reason' in envoy ? envoy.reason : false;

const closed = (event: ConnectionEvent): boolean => event.kind === Kind.CLOSED;
const refused = (event: ConnectionEvent): boolean => event.kind === Kind.REFUSED;

interface Setting {
  readonly pair: MeshPair;
  readonly mesh: MeshPod;
}

async function start(t: Test, engine: EngineOptions, account = 'server'): Promise<Setting> {
  const pair = await MeshPair.start(t, { server: 'bare', engine });
  const { cert, key } = await pair.ca.issue(spiffeId(account));
  const proof = { chainFile: cert, keyFile: key, rootFile: pair.ca.rootFile };
  const config = hboneServer(
    { ...proof, peer: { exact: spiffeId('client') } },
    { authority: `${server}:81`, status: 401 },
  );
  const program = 'program' in envoy ? envoy.program : '';
  const folder = dirname(pair.ca.rootFile);
  await startEnvoy(t, { program, pod: pair.serverPod, config, folder, ports: [15_008] });
  await pair.serverPod.app.listen(8080);
  return { pair, mesh: pair.client };
}

async function carriesBytes(t: Test, { pair, mesh }: Setting): Promise<void> {
  const [near, far] = await pair.connect(8080);
  await near.write('question');
  t.equal(await far.read(8), 'question');
  await near.end();
  t.equal((await far.readAll()).received, 8, 'FIN of the application is its end of stream');
  await far.write('answer');
  await far.end();
  t.equal((await near.readAll()).text, 'answer', 'the other direction goes on after it');
  t.match(await mesh.events.take(closed), {
    direction: Direction.OUTBOUND,
    destinationAddress: `${server}:8080`,
    tunnelAddress: `${server}:15008`,
    destinationIdentity: spiffeId('server'),
    bytesSent: 8n,
    bytesReceived: 6n,
    mutualTls: true,
    reason: Reason.NONE,
  });
}

async function carriesBulk(t: Test, { pair }: Setting): Promise<void> {
  const [near, far] = await pair.connect(8080);
  const upward = async (): Promise<string> => {
    const { sentSha256 } = await near.writeRandom(bulkBytes);
    await near.end();
    return sentSha256;
  };
  const reading = near.readAll();
  const [up, down, there] = await Promise.all([
    upward(),
    far.writeRandom(bulkBytes),
    far.readAll(),
  ]);
  await far.end();
  const back = await reading;
  t.equal(there.received, bulkBytes);
  t.equal(there.receivedSha256, up);
  t.equal(back.received, bulkBytes);
  t.equal(back.receivedSha256, down.sentSha256);
}

// Envoy 1.40 resets a stream (NO_ERROR) as soon as its application ends: what comes after that is
// lost on its side, and the client's application must hear of it.
async function serverEndsFirst(t: Test, { pair, mesh }: Setting): Promise<void> {
  const [near, far] = await pair.connect(8080);
  await near.write('ping');
  t.equal(await far.read(4), 'ping');
  await far.write('answer');
  await far.end();
  t.equal((await near.readAll()).text, 'answer', 'all that it sent has come');
  t.match(await mesh.events.take((event) => closed(event) && event.bytesReceived === 6n), {
    bytesSent: 4n,
    reason: Reason.RESET,
    detail: 'the peer reset the stream, code 0',
  });
  await t.rejects(near.write('more'), { message: 'EPIPE' });
}

async function carriesMany(t: Test, { pair, mesh }: Setting): Promise<void> {
  const before = mesh.engine.counters();
  const pairs: [AppStream, AppStream][] = [];
  for (let at = 0; at < 50; at++) {
    pairs.push(await pair.connect(8080));
  }
  await Promise.all(pairs.map(([near], at) => near.write(`stream ${at}`.padEnd(12))));
  const texts = await Promise.all(pairs.map(([, far]) => far.read(12)));
  t.strictSame(
    texts,
    pairs.map((_, at) => `stream ${at}`.padEnd(12)),
  );
  const after = mesh.engine.counters();
  t.equal(after['tunnels_opened'], before['tunnels_opened'], 'in the tunnel that is there');
  await Promise.all(pairs.map(([near]) => near.reset()));
  await Promise.all(pairs.map(([, far]) => far.failure()));
}

async function carriesResets(t: Test, { pair, mesh }: Setting): Promise<void> {
  const [near, far] = await pair.connect(8080);
  await near.write('half');
  t.equal(await far.read(4), 'half');
  await far.reset();
  t.equal(await near.failure(), 'ECONNRESET', 'not an end that would say all came');
  t.match(await mesh.events.take((event) => closed(event) && event.bytesSent === 4n), {
    reason: Reason.RESET,
  });
}

t.test('Envoy as an HBONE server', { skip }, async (t) => {
  const setting = await start(t, {});
  const { pair, mesh } = setting;
  await t.test('carries bytes, and half-closes', (t) => carriesBytes(t, setting));
  await t.test('an application that ends first ends both ways', (t) => serverEndsFirst(t, setting));
  await t.test('64 MB each way at once without a byte changed', (t) => carriesBulk(t, setting));
  await t.test('many streams in one connection', (t) => carriesMany(t, setting));
  await t.test('resets', (t) => carriesResets(t, setting));

  await t.test('its refusals are resets for the application', async (t) => {
    t.equal(await mesh.app.failure(server, 81), 'ECONNRESET');
    t.match(await mesh.events.take(refused), {
      reason: Reason.DENIED,
      detail: 'the peer answered 401',
    });
    t.equal(await mesh.app.failure(server, 82), 'ECONNRESET', 'nobody listens there');
    t.match(await mesh.events.take(refused), {
      reason: Reason.CONNECT,
      detail: 'the peer answered 503',
    });
    t.comment('and the tunnel serves others as before');
    const [near, far] = await pair.connect(8080);
    await near.write('still here');
    t.equal(await far.read(10), 'still here');
  });
});

t.test('Envoy with another identity than is expected gets nothing', { skip }, async (t) => {
  const { mesh } = await start(t, {}, 'other');
  t.equal(await mesh.app.failure(server, 8080), 'ECONNRESET');
  t.match(await mesh.events.take(refused), {
    reason: Reason.IDENTITY,
    destinationIdentity: spiffeId('server'),
  });
});
