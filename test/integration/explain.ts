// SPDX-License-Identifier: Apache-2.0
// What `explain` says of a connection is what becomes of it: random meshes, random destinations, a
// real connection for each. Needs root.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import t, { type Test } from 'tap';
import {
  type ConnectionEvent,
  type ExplainedEndpoint,
  type Explanation,
  Kind,
  PolicyAction,
  PolicyScope,
  Reason,
  type TablesDelta,
} from '../../native/index.ts';
import { type BarePod, MeshPair, type MeshPod, workloadOf } from '../support/mesh-pair.ts';
import { Dice } from '../support/random.ts';

const seed = Number(process.env['WEFT_EXPLAIN_SEED'] ?? 1120);
const rounds = 40;
const pairsOfRound = 25;
const listening = [8080, 8081];
const service = 'demo/web.demo.svc.cluster.local';
const vips = { ipv4: '10.9.0.100', ipv6: 'fd09::100' };

t.setTimeout(240_000);

type Delta = Parameters<MeshPod['engine']['apply']>[0];
type Policy = NonNullable<Delta['policies']>[number];

async function serveEcho(t: Test, pod: BarePod): Promise<void> {
  const program = new URL('../peers/echo.py', import.meta.url).pathname;
  const [file = '', ...args] = [...pod.inside, '/usr/bin/python3', program];
  const child = spawn(file, [...args, ...listening.map(String)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill());
  await once(child.stdout, 'data');
}

function matchOf(dice: Dice): object {
  const principal = (name: string) => ({
    match: { case: 'exact' as const, value: `cluster.local/ns/demo/sa/${name}` },
  });
  const namespace = { match: { case: 'exact' as const, value: dice.pick(['demo', 'other']) } };
  const ports = dice.some(listening, 0.6);
  const fields = [
    { principals: dice.some(['client', 'server'], 0.6).map(principal) },
    { notPrincipals: dice.some(['client', 'server'], 0.4).map(principal) },
    { namespaces: [namespace] },
    { destinationPorts: ports },
    { notDestinationPorts: ports },
  ];
  return Object.assign({}, ...dice.some(fields, 0.35));
}

function policyOf(dice: Dice, name: string): Policy {
  const some = (work: () => object): object[] =>
    Array.from({ length: dice.pick([0, 1, 1, 1, 2]) }, work);
  const matches = () => ({ matches: some(() => matchOf(dice)) });
  return {
    key: `demo/${name}`,
    namespace: 'demo',
    scope: dice.pick([PolicyScope.SCOPE_NAMESPACE, PolicyScope.SCOPE_WORKLOAD]),
    action: dice.pick([PolicyAction.ACTION_ALLOW, PolicyAction.ACTION_DENY]),
    rules: some(() => ({ clauses: some(matches) })),
    dryRun: dice.chance(0.1),
  } as Policy;
}

function serverOf(dice: Dice): TablesDelta['workloads'][number] {
  const names = dice.some(['p0', 'p1', 'p2'], 0.5).map((name) => `demo/${name}`);
  const ports = [
    [80, 8080],
    [81, 8081],
    [82, 9999],
  ].map(([servicePort = 0, targetPort = 0]) => {
    return { $typeName: 'weft.tables.PortMap' as const, servicePort, targetPort };
  });
  const binding = { $typeName: 'weft.tables.ServiceBinding' as const, service, ports };
  return {
    ...workloadOf('server', dice.chance(0.05) ? [...names, 'demo/unknown'] : names),
    healthy: dice.chance(0.85),
    waypoint: dice.chance(0.05),
    services: dice.chance(0.9) ? [binding] : [],
  };
}

function meshOf(dice: Dice): Delta {
  const vip = (bytes: number[]) => ({
    range: { address: Uint8Array.from(bytes), length: bytes.length * 8 },
  });
  const six = [0xfd, 9, ...new Array<number>(12).fill(0), 1, 0];
  const policies = dice.some(['p0', 'p1', 'p2'], 0.4).map((name) => policyOf(dice, name));
  const kept = new Set(policies.map(({ key }) => key));
  return {
    workloads: [workloadOf('client'), serverOf(dice)],
    services: [
      {
        ...{ key: service, name: 'web', namespace: 'demo', hostname: 'web.demo.svc.cluster.local' },
        addresses: [vip([10, 9, 0, 100]), vip(six)],
        ports: [80, 81, 82].map((servicePort) => ({ servicePort })),
      },
    ],
    policies,
    removedPolicies: ['demo/p0', 'demo/p1', 'demo/p2'].filter((key) => !kept.has(key)),
  };
}

interface Seen {
  readonly passed: boolean;
  readonly near: ConnectionEvent;
}

const ended = ({ kind }: ConnectionEvent): boolean => kind !== Kind.OPENED;

async function tryOut(pair: MeshPair, host: string, port: number): Promise<Seen> {
  const { client } = pair;
  let passed = false;
  try {
    const near = await client.app.connect(host, port);
    await near.write('x');
    passed = (await near.read(1)) === 'x';
    await near.end();
    await near.readAll();
  } catch {
    // A refusal: it did not pass.
  }
  return { passed, near: await client.events.take(ended) };
}

function expectedPass({ path, verdict, target }: ExplainedEndpoint): boolean {
  const port = Number(target?.split(':').at(-1));
  return path !== 'refused' && verdict?.allowed !== false && listening.includes(port);
}

function outcomeOf({ path, endpoints }: Explanation, { passed }: Seen) {
  if (path === 'refused' || endpoints[0]?.verdict?.allowed === false) {
    return path === 'refused' ? 'refused' : 'denied';
  }
  return passed ? 'passed' : 'other';
}

/** Whether all that was said of it is what was seen of it, at both ends. */
async function isTrue(
  said: Explanation,
  { passed, near }: Seen,
  server: MeshPod,
): Promise<boolean> {
  const [endpoint] = said.endpoints;
  const refused = said.path === 'refused';
  const target = refused ? near.destinationAddress : endpoint?.target;
  const atClient =
    passed === (endpoint !== undefined && expectedPass(endpoint)) &&
    near.tunnelAddress === (endpoint?.tunnel ?? '') &&
    near.destinationAddress === target &&
    near.destinationService === (said.service ?? '') &&
    refused === (near.reason === Reason.NO_ROUTE);
  if (refused) {
    return atClient;
  }
  const far = await server.events.take(ended);
  const denied = endpoint?.verdict?.allowed === false;
  const policy = denied ? endpoint?.verdict?.policy : '';
  return atClient && denied === (far.reason === Reason.DENIED) && far.policy === policy;
}

t.test('explain says what a connection does', async (t) => {
  const pair = await MeshPair.start(t);
  const { client, server } = pair;
  await serveEcho(t, server);
  const dice = new Dice(seed);
  t.comment(`seed ${seed}`);
  const tally = { refused: 0, denied: 0, passed: 0, other: 0 };
  const wrong: unknown[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const mesh = meshOf(dice);
    pair.apply(mesh);
    // Asked after the tables, and answered by all workers: all have them.
    await Promise.all([client.engine.snapshot(), server.engine.snapshot()]);
    for (let i = 0; i < pairsOfRound; i += 1) {
      const host = dice.pick([server.ipv4, server.ipv6, vips.ipv4, vips.ipv6]);
      const port = dice.pick([80, 81, 82, 8080, 8081, 9999]);
      const said = client.engine.explain({ source: 'client', destination: host, port });
      const seen = await tryOut(pair, host, port);
      tally[outcomeOf(said, seen)] += 1;
      if (!(await isTrue(said, seen, server))) {
        wrong.push({ round, host, port, said, seen, mesh });
      }
    }
  }
  t.comment(tally);
  t.equal(wrong.length, 0, 'of 1,000 explanations none is wrong');
  t.same(wrong.slice(0, 2), []);
  t.ok(Math.min(...Object.values(tally)) > 25, 'each outcome was met often');
});
