// SPDX-License-Identifier: Apache-2.0
// Envoy as an HBONE client (TCP tunnelled in CONNECT over HTTP/2 and mutual TLS) against the
// inbound side of the proxy. Skipped where Envoy cannot be had; needs root.
import { dirname } from 'node:path';
import t, { type Test } from 'tap';
import {
  type ConnectionEvent,
  Direction,
  type EngineOptions,
  Kind,
  PolicyAction,
  PolicyScope,
  Reason,
} from '../../../native/index.ts';
import { envoyOrReason, hboneClient, startEnvoy } from '../../support/envoy-peer.ts';
import { MeshPair, type MeshPod, spiffeId } from '../../support/mesh-pair.ts';
import type { AppStream } from '../../support/pod-app.ts';

const bulkBytes = 64 << 20;
const server = '10.9.0.2';
// Where the client's application connects, and what Envoy then asks for.
const way = { listen: 9_000, authority: `${server}:8080` };
const closedWay = { listen: 9_001, authority: `${server}:81` };
const foreignWay = { listen: 9_002, authority: '10.9.0.77:8080' };
const ways = [way, closedWay, foreignWay];

t.setTimeout(120_000);
const envoy = await envoyOrReason();
const skip = 'reason' in envoy ? envoy.reason : false;

const closed = (event: ConnectionEvent): boolean => event.kind === Kind.CLOSED;
const refused = (event: ConnectionEvent): boolean => event.kind === Kind.REFUSED;

interface Setting {
  readonly pair: MeshPair;
  readonly mesh: MeshPod;
  /** A connection through Envoy: both ends of it. */
  connect(): Promise<[AppStream, AppStream]>;
  /** How a connection ends that must not work. */
  failure(listen: number): Promise<string>;
}

async function start(t: Test, engine: EngineOptions, account = 'client'): Promise<Setting> {
  const pair = await MeshPair.start(t, { client: 'bare', engine });
  const { cert, key } = await pair.ca.issue(spiffeId(account));
  const proof = { chainFile: cert, keyFile: key, rootFile: pair.ca.rootFile };
  const config = hboneClient(
    { ...proof, peer: { exact: spiffeId('server') } },
    { host: server, port: 15_008 },
    ways,
  );
  const program = 'program' in envoy ? envoy.program : '';
  const ports = ways.map(({ listen }) => listen);
  const folder = dirname(pair.ca.rootFile);
  await startEnvoy(t, { program, pod: pair.clientPod, config, folder, ports });
  const mesh = pair.server;
  await mesh.app.listen(8080);
  const app = pair.clientPod.app;
  return {
    pair,
    mesh,
    connect: () => Promise.all([app.connect('127.0.0.1', way.listen), mesh.app.accept(8080)]),
    failure: (listen) => app.failure('127.0.0.1', listen),
  };
}

async function carriesBytes(t: Test, { connect, mesh }: Setting): Promise<void> {
  const [near, far] = await connect();
  await near.write('question');
  t.equal(await far.read(8), 'question');
  await near.end();
  t.equal((await far.readAll()).received, 8, 'its end of stream is FIN for the application');
  await far.write('answer');
  await far.end();
  t.equal((await near.readAll()).text, 'answer', 'the other direction goes on after it');
  t.match(await mesh.events.take(closed), {
    direction: Direction.INBOUND,
    destinationAddress: way.authority,
    sourceIdentity: spiffeId('client'),
    sourceWorkload: 'client',
    bytesSent: 8n,
    bytesReceived: 6n,
    mutualTls: true,
    reason: Reason.NONE,
  });
}

async function carriesBulk(t: Test, { connect }: Setting): Promise<void> {
  const [near, far] = await connect();
  const send = async (stream: AppStream): Promise<string> => {
    const { sentSha256 } = await stream.writeRandom(bulkBytes);
    await stream.end();
    return sentSha256;
  };
  const [up, down, there, back] = await Promise.all([
    send(near),
    send(far),
    far.readAll(),
    near.readAll(),
  ]);
  t.equal(there.received, bulkBytes);
  t.equal(there.receivedSha256, up);
  t.equal(back.received, bulkBytes);
  t.equal(back.receivedSha256, down);
}

async function carriesMany(t: Test, { connect, mesh }: Setting): Promise<void> {
  const before = mesh.engine.counters();
  const pairs: [AppStream, AppStream][] = [];
  for (let at = 0; at < 50; at++) {
    pairs.push(await connect());
  }
  await Promise.all(pairs.map(([near], at) => near.write(`stream ${at}`.padEnd(12))));
  const texts = await Promise.all(pairs.map(([, far]) => far.read(12)));
  t.strictSame(
    texts,
    pairs.map((_, at) => `stream ${at}`.padEnd(12)),
  );
  const after = mesh.engine.counters();
  t.equal((after['streams_opened'] ?? 0n) - (before['streams_opened'] ?? 0n), 50n);
  t.equal(after['tunnels_accepted'], before['tunnels_accepted'], 'in the tunnel that is there');
  await Promise.all(pairs.map(([near]) => near.reset()));
}

async function carriesResets(t: Test, { connect }: Setting): Promise<void> {
  const [near, far] = await connect();
  await near.write('half');
  t.equal(await far.read(4), 'half');
  await far.reset();
  t.comment(`RST of the server's application comes to the client's as: ${await near.failure()}`);
  const [gone, left] = await connect();
  await gone.write('half');
  t.equal(await left.read(4), 'half');
  await gone.reset();
  t.equal(await left.failure(), 'ECONNRESET', 'not an end that would say all came');
}

t.test('Envoy as an HBONE client', { skip }, async (t) => {
  const setting = await start(t, {});
  await t.test('carries bytes, and half-closes', (t) => carriesBytes(t, setting));
  await t.test('64 MB each way at once without a byte changed', (t) => carriesBulk(t, setting));
  await t.test('many streams in one connection', (t) => carriesMany(t, setting));
  await t.test('resets', (t) => carriesResets(t, setting));

  await t.test('hears that nobody listens, and that a pod is not here', async (t) => {
    t.comment(`503 comes to the application as: ${await setting.failure(closedWay.listen)}`);
    t.match(await setting.mesh.events.take(refused), {
      reason: Reason.CONNECT,
      destinationAddress: closedWay.authority,
    });
    await setting.failure(foreignWay.listen);
    t.match(await setting.mesh.events.take(refused), { reason: Reason.BAD_REQUEST });
    t.comment('and its connection serves others as before');
    const [near, far] = await setting.connect();
    await near.write('still here');
    t.equal(await far.read(10), 'still here');
  });
});

t.test('Envoy that policy denies gets no byte through', { skip }, async (t) => {
  const { pair, mesh, failure } = await start(t, {}, 'other');
  const rules = [{ clauses: [{ matches: [{ destinationPorts: [8080] }] }] }];
  const base = { key: 'demo/no-8080', namespace: 'demo', scope: PolicyScope.SCOPE_NAMESPACE };
  pair.apply({ policies: [{ ...base, action: PolicyAction.ACTION_DENY, rules }] });
  t.comment(`401 comes to the application as: ${await failure(way.listen)}`);
  t.match(await mesh.events.take(refused), {
    reason: Reason.DENIED,
    policy: 'demo/no-8080',
    sourceIdentity: spiffeId('other'),
  });
});
