// SPDX-License-Identifier: Apache-2.0
// What becomes of an application's bytes when the first peer does not take its stream. The peers
// share no code with Weft. Needs root.
import t, { type Test } from 'tap';
import { type EngineOptions, Kind, Reason } from '../../native/index.ts';
import { mustRun } from '../../src/lib/program.ts';
import { MeshPair, type MeshPod, spiffeId, workloadOf } from '../support/mesh-pair.ts';
import { HboneServer, identity } from '../support/peers.ts';

t.setTimeout(60_000);

const vip = '10.9.0.200';
const key = 'demo/app.demo.svc.cluster.local';

/** A service of two endpoints, each served as its options say. */
async function start(
  t: Test,
  one: readonly string[],
  other: readonly string[],
  engine: EngineOptions = {},
): Promise<MeshPod> {
  const pair = await MeshPair.start(t, { server: 'bare', engine });
  const { client, serverPod: pod, ca } = pair;
  const address = ['ip', 'address', 'add', '10.9.0.3/24', 'dev', 'eth0'];
  await mustRun('nsenter', [`--net=${pod.netnsPath}`, '--', ...address]);
  const proof = identity(await ca.issue(spiffeId('server')), ca.rootFile);
  for (const [ip, mode] of [
    ['10.9.0.2', one],
    ['10.9.0.3', other],
  ] as const) {
    const options = ['--listen', `${ip}:15008`, ...mode, ...proof];
    const server = await HboneServer.start(options, pod.inside);
    t.teardown(() => server.stop());
  }
  const range = {
    $typeName: 'weft.tables.Cidr' as const,
    address: Uint8Array.of(10, 9, 0, 200),
    length: 32,
  };
  const ports = [{ $typeName: 'weft.tables.PortMap' as const, servicePort: 80, targetPort: 8080 }];
  const services = [{ $typeName: 'weft.tables.ServiceBinding' as const, service: key, ports }];
  client.engine.apply({
    services: [
      {
        key,
        name: 'app',
        namespace: 'demo',
        hostname: 'app.demo.svc.cluster.local',
        addresses: [{ $typeName: 'weft.tables.Vip', range, network: '' }],
      },
    ],
    workloads: [
      { ...workloadOf('server'), services },
      { ...workloadOf('server'), uid: 'other', addresses: [Uint8Array.of(10, 9, 0, 3)], services },
    ],
  });
  return client;
}

t.test('all that was said arrives, also when the peer answers before it took all', async (t) => {
  const client = await start(t, ['--echo', '--window', '100'], ['--answer', '503']);
  const said = Array.from({ length: 1000 }, (_, index) => String(index).padStart(8)).join('');
  for (let count = 0; count < 12; count++) {
    const near = await client.app.connect(vip, 80);
    await near.write(said);
    await near.end();
    const { received, receivedSha256, sentSha256 } = await near.readAll();
    t.equal(received, said.length);
    t.equal(receivedSha256, sentSha256);
  }
  const { connects_retried: retried } = client.engine.counters();
  t.ok((retried ?? 0n) > 0n, `${retried} of them were tried again`);
});

t.test('a peer that never answers', async (t) => {
  const engine = { connectTimeoutMs: 100 };

  t.test('costs no connection that said nothing yet', async (t) => {
    const client = await start(t, ['--answer', '200'], ['--silent'], engine);
    const ends: Promise<unknown>[] = [];
    for (let count = 0; count < 8; count++) {
      // An answer of 200 comes with an end here: for the application, a clean one.
      ends.push(client.app.connect(vip, 80).then((near) => near.readAll()));
    }
    await Promise.all(ends);
    const { connects_retried: retried } = client.engine.counters();
    t.ok((retried ?? 0n) > 0n, `${retried} of them were tried again`);
    t.notOk(client.events.kept.some(({ kind }) => kind === Kind.REFUSED));
  });

  t.test('may have passed on what was said: it is said to no other one', async (t) => {
    const client = await start(t, ['--silent'], ['--silent'], engine);
    const near = await client.app.connect(vip, 80);
    await near.write('hello');
    t.equal(await near.failure(), 'ECONNRESET');
    t.match(await client.events.take(({ kind }) => kind === Kind.REFUSED), {
      reason: Reason.CONNECT,
      detail: 'the peer did not answer in time',
    });
    t.equal(client.engine.counters()['connects_retried'], 0n);
  });
});
