// SPDX-License-Identifier: Apache-2.0
// A connection to a service whose endpoint cannot take it goes to another one. Needs root.
import t, { type Test } from 'tap';
import { Kind, Protocol, type TablesDelta } from '../../native/index.ts';
import { mustRun } from '../../src/lib/program.ts';
import { type BarePod, MeshPair, workloadOf } from '../support/mesh-pair.ts';

t.setTimeout(60_000);

const vip = '10.9.0.200';
const key = 'demo/app.demo.svc.cluster.local';
const badIp = '10.9.0.3';

type Delta = Parameters<MeshPair['apply']>[0];

const service: NonNullable<Delta['services']>[0] = {
  key,
  name: 'app',
  namespace: 'demo',
  hostname: 'app.demo.svc.cluster.local',
  addresses: [
    {
      $typeName: 'weft.tables.Vip',
      range: { $typeName: 'weft.tables.Cidr', address: Uint8Array.of(10, 9, 0, 200), length: 32 },
      network: '',
    },
  ],
};

function binding(targetPort: number): TablesDelta['workloads'][0]['services'] {
  return [
    {
      $typeName: 'weft.tables.ServiceBinding',
      service: key,
      ports: [{ $typeName: 'weft.tables.PortMap', servicePort: 80, targetPort }],
    },
  ];
}

interface Bad {
  readonly title: string;
  readonly account?: string;
  readonly port?: number;
  readonly protocol?: Protocol;
  arrange(client: BarePod, server: BarePod): Promise<unknown>;
}

const at = (pod: BarePod, ...command: string[]): Promise<string> =>
  mustRun('nsenter', [`--net=${pod.netnsPath}`, '--', ...command]);
const addAddress = (_: BarePod, server: BarePod): Promise<string> =>
  at(server, 'ip', 'address', 'add', `${badIp}/24`, 'dev', 'eth0');

const bads: Bad[] = [
  {
    title: 'that has no route',
    arrange: (client) => at(client, 'ip', 'route', 'add', 'unreachable', badIp),
  },
  {
    title: 'that refuses TCP',
    arrange: async (client, server) => {
      await addAddress(client, server);
      const rule =
        'chain in { type filter hook input priority 0; ip daddr 10.9.0.3 tcp dport 15008';
      await mustRun('nsenter', [`--net=${server.netnsPath}`, '--', 'nft', '-f', '-'], {
        input: `table ip refusing { ${rule} reject with tcp reset; }; }`,
      });
    },
  },
  { title: 'that is somebody else', account: 'other', arrange: addAddress },
  { title: 'whose application is not there', port: 9, arrange: addAddress },
  {
    title: 'that is not enrolled and refuses',
    port: 9,
    protocol: Protocol.TCP,
    arrange: (client) => at(client, 'ip', 'route', 'add', 'unreachable', badIp),
  },
];

async function start(t: Test, bad: Bad, withGood: boolean): Promise<MeshPair> {
  const pair = await MeshPair.start(t);
  await bad.arrange(pair.client, pair.server);
  await pair.server.app.echo(8080);
  const other = {
    ...workloadOf('server'),
    uid: 'other',
    serviceAccount: bad.account ?? 'server',
    addresses: [Uint8Array.of(10, 9, 0, 3)],
    protocol: bad.protocol ?? Protocol.HBONE,
    services: binding(bad.port ?? 8080),
  };
  const good = { ...workloadOf('server'), services: withGood ? binding(8080) : [] };
  pair.apply({ services: [service], workloads: [good, other] });
  return pair;
}

t.test('an endpoint that fails three times in a row is not tried again for a while', async (t) => {
  const [noRoute] = bads;
  if (noRoute === undefined) {
    throw new Error('nothing to try');
  }
  const { client } = await start(t, noRoute, true);
  for (let count = 0; count < 30; count++) {
    const near = await client.app.connect(vip, 80);
    await near.write('ping');
    t.equal(await near.read(4), 'ping');
    await near.end();
  }
  const { connects_retried: retried } = client.engine.counters();
  // Half of the connections without that; once more for each time-out that ends meanwhile.
  t.ok((retried ?? 0n) >= 3n && (retried ?? 0n) <= 5n, `${retried} were tried again`);
});

for (const bad of bads) {
  t.test(`an endpoint ${bad.title} costs no connection`, async (t) => {
    const pair = await start(t, bad, true);
    const { client } = pair;
    for (let count = 0; count < 8; count++) {
      const near = await client.app.connect(vip, 80);
      await near.write('ping');
      t.equal(await near.read(4), 'ping');
    }
    const { connects_retried: retried } = client.engine.counters();
    t.ok((retried ?? 0n) > 0n, `${retried} of them were tried again`);
    t.notOk(client.events.kept.some(({ kind }) => kind === Kind.REFUSED));
  });

  t.test(`an only endpoint ${bad.title} is not tried for ever`, async (t) => {
    const pair = await start(t, bad, false);
    t.equal(await pair.client.app.failure(vip, 80), 'ECONNRESET');
    await pair.client.events.take(({ kind }) => kind === Kind.REFUSED);
  });
}
