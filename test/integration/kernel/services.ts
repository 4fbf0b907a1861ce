// SPDX-License-Identifier: Apache-2.0
// Connections to services: the kernel picks an endpoint, and leads to those of this node without the
// proxy, which takes the others. Real namespaces, programs and engines. Needs root.
process.env['WEFT_TEST_CAPTURE'] = 'ebpf';

import t, { type Test } from 'tap';
import { Mode, Nearness } from '../../../native/gen/tables_pb.js';
import { Direction, Kind, Reason } from '../../../native/index.ts';

const { counterSteps } = await import('../../support/kernel-counters.ts');
const { spiffeId } = await import('../../support/mesh-pair.ts');
const { denyPort } = await import('../../support/same-node.ts');
const { refuses, remote, ServiceWorld, serviceKey, talks, tells, vip } = await import(
  '../../support/service-world.ts'
);

const count = 800;
/** So many standard deviations are left by chance by one of 10^9 draws. */
const deviations = 6.2;

const policy = denyPort(tells.target);

t.setTimeout(100_000);

const world = await ServiceWorld.start(t);
const { pair } = world;
const { clientPod, serverPod } = pair;
const { app } = clientPod;
const { engine, events } = pair.client;
const families = ['ipv4', 'ipv6'] as const;

/** Whether `seen` of `count` tries is what chance makes of `share`. */
function isShare(t: Test, seen: number, share: number, of = count): void {
  const most = deviations * Math.sqrt(of * share * (1 - share));
  t.ok(Math.abs(seen - of * share) <= most, `${seen} of ${of} is a share of ${share}`);
}

interface Reached {
  readonly here: number;
  readonly there: number;
  /** How far the kernel's counters went for it. */
  readonly steps: Record<string, number>;
  readonly failed: Record<string, number>;
}

/** Where so many connections lead. */
async function reach(family: 'ipv4' | 'ipv6', of = count): Promise<Reached> {
  const steps = counterSteps();
  const all = await app.reachEach(vip[family], tells.port, of);
  const { [serverPod[family]]: here = 0, [remote[family]]: there = 0, ...failed } = all;
  return { here, there, failed, steps: steps() };
}

await t.test('an endpoint is picked by weight, and the proxy takes the pick', async (t) => {
  for (const [near, far] of [
    [1, 1],
    [3, 1],
    [1, 7],
  ] as const) {
    await world.become({ local: { capacity: near }, remote: { capacity: far } });
    for (const family of families) {
      const { here, there, steps } = await reach(family);
      t.equal(here + there, count, 'all reach an endpoint');
      isShare(t, here, near / (near + far));
      t.match(steps, {
        service_picked: count,
        direct_allowed: here,
        direct_passed: here,
        outbound_captured: there,
      });
    }
  }
});

/** A connection to the service, which has to lead to the server: both ends of it. */
function talk(host: string, how = {}): ReturnType<typeof pair.connect> {
  const accepted = serverPod.app.accept(talks.target);
  return Promise.all([app.connect(host, talks.port, how), accepted]);
}

for (const [host, reached] of [
  [vip.ipv4, serverPod.ipv4],
  [vip.ipv6, serverPod.ipv6],
  [vip.mapped, serverPod.ipv4],
] as const) {
  await t.test(`the application sees the service, the mesh sees both (${host})`, async (t) => {
    await world.become({ remote: null });
    const steps = counterSteps();
    const [near, far] = await talk(host);
    t.strictSame(near.peer, [host, talks.port]);
    t.match(far.local[0], reached);
    t.match(near.local[0], far.peer[0].replace('::ffff:', ''));
    await near.write('hello');
    t.equal(await far.read(5), 'hello');
    await far.write('welcome');
    await far.end();
    t.equal((await near.readAll()).text, 'welcome');
    await near.end();
    t.match(steps(), { direct_passed: 1, outbound_captured: undefined });
    for (const direction of [Direction.OUTBOUND, Direction.INBOUND]) {
      // Earlier ones, elsewhere, may have had the same port.
      const closed = await events.take((event) => {
        const { kind, sourceAddress, destinationAddress } = event;
        const isOurs =
          sourceAddress.endsWith(`:${near.local[1]}`) &&
          destinationAddress.endsWith(`:${talks.target}`);
        return isOurs && kind === Kind.CLOSED && event.direction === direction;
      });
      t.match(closed, {
        destinationAddress: reached.includes(':')
          ? `[${reached}]:${talks.target}`
          : `${reached}:${talks.target}`,
        destinationService: direction === Direction.OUTBOUND ? serviceKey : '',
        bytesSent: 5n,
        bytesReceived: 7n,
        sourceIdentity: spiffeId('client'),
        destinationIdentity: spiffeId('server'),
        mutualTls: false,
        reason: Reason.NONE,
      });
    }
  });
}

await t.test('a socket may wait for it, or have failed elsewhere before', async (t) => {
  await world.become({ remote: null });
  for (const how of [{ nonblocking: true }, { failAt: 9 }]) {
    const steps = counterSteps();
    const [near, far] = await talk(vip.ipv4, how);
    t.strictSame(near.peer, [vip.ipv4, talks.port]);
    await near.write('x');
    t.equal(await far.read(1), 'x');
    t.match(steps(), { direct_passed: 1, outbound_captured: undefined });
  }
});

await t.test('near endpoints go first, and others when they are not ready', async (t) => {
  const balancing = { mode: Mode.FAILOVER, preference: [Nearness.NEAR_REGION, Nearness.NEAR_ZONE] };
  const place = { region: 'r', zone: 'z1' };
  const base = { balancing, client: place, remote: { region: 'r', zone: 'z2' } };
  await world.become({ ...base, local: place });
  t.match(await reach('ipv4', 50), { here: 50, there: 0, steps: { direct_passed: 50 } });
  await world.become({ ...base, local: { ...place, healthy: false } });
  t.match(await reach('ipv4', 50), {
    ...{ here: 0, there: 50 },
    steps: { service_picked: undefined, outbound_captured: 50 },
  });
  await world.become({ ...base, local: { region: 'other' } });
  t.match(await reach('ipv4', 50), { here: 0, there: 50 });
});

await t.test(
  'where policy denies the endpoint that is picked, connect fails, and tells',
  async (t) => {
    await world.become({ policies: [policy] });
    const { here, there, failed, steps } = await reach('ipv4');
    t.equal(here, 0);
    isShare(t, there, 0.5);
    t.strictSame(failed, { ECONNREFUSED: count - there });
    t.match(steps, { direct_denied: count - there, outbound_captured: there });
    const refused = await events.take(({ kind, direction, destinationService }) => {
      const isOurs = direction === Direction.OUTBOUND && destinationService === serviceKey;
      return isOurs && kind === Kind.REFUSED;
    });
    t.match(refused, {
      reason: Reason.DENIED,
      destinationAddress: `${serverPod.ipv4}:${tells.target}`,
      destinationService: serviceKey,
    });
    await world.become({ removedPolicies: [policy.key] });
  },
);

await t.test(
  'where policy is left to the proxy, so is the endpoint, as it was picked',
  async (t) => {
    // The client has two addresses, for which policy says different things.
    const matches = [{ sourceIps: [{ address: Uint8Array.of(192, 0, 2, 1), length: 32 }] }];
    const rules = [{ clauses: [{ matches }] }];
    const addresses = [Uint8Array.of(10, 9, 0, 1), Uint8Array.of(192, 0, 2, 1)];
    const world4 = { local: { capacity: 1 }, remote: { capacity: 7 }, client: { addresses } };
    await world.become({ ...world4, policies: [{ ...policy, rules } as typeof policy] });
    const { here, there, steps } = await reach('ipv4');
    t.equal(here + there, count);
    isShare(t, here, 0.125);
    t.match(steps, { service_picked: count, outbound_captured: count, direct_allowed: undefined });
    await world.become({ removedPolicies: [policy.key] });
  },
);

await t.test('an endpoint that goes has no new connections, and keeps those it has', async (t) => {
  await world.become({ remote: null });
  const [near, far] = await talk(vip.ipv4);
  await world.become({ local: null });
  t.match(await reach('ipv4', 50), {
    ...{ here: 0, there: 50 },
    steps: { service_picked: undefined, outbound_captured: 50 },
  });
  await near.write('x');
  t.equal(await far.read(1), 'x');

  await t.test('and when all are gone the proxy refuses', async (t) => {
    await world.become({ local: null, remote: null });
    const steps = counterSteps();
    t.not(await app.failure(vip.ipv4, tells.port), '');
    t.match(steps(), { outbound_captured: 1, service_picked: undefined });
    const refused = await events.take(({ kind, reason }) => {
      return kind === Kind.REFUSED && reason === Reason.NO_ROUTE;
    });
    t.match(refused, { destinationAddress: `${vip.ipv4}:${tells.port}` });
  });
});

await t.test('a service that may be reached through its waypoint only is captured', async (t) => {
  await world.become({ remote: null });
  const [near] = await talk(vip.ipv4);
  const reading = near.failure();
  await world.become({ remote: null, waypoint: true });
  t.match(await reading, /ECONNABORTED|ECONNRESET/, 'what was open to it ends');
  const steps = counterSteps();
  t.not(await app.failure(vip.ipv4, tells.port), '');
  t.match(steps(), { outbound_captured: 1, direct_allowed: undefined });
});

await t.test('a pod that picks itself is led there by the proxy, as policy says', async (t) => {
  await app.tell(tells.target);
  await world.become({ local: null, remote: null, isOwn: true });
  const steps = counterSteps();
  t.strictSame(await app.reachEach(vip.ipv4, tells.port, 20), { [clientPod.ipv4]: 20 });
  t.match(steps(), { service_picked: 20, outbound_captured: 20, direct_allowed: undefined });
});

await t.test('it is explained by endpoint', async (t) => {
  await world.become({});
  const said = engine.explain({ source: 'client', destination: vip.ipv4, port: tells.port });
  const paths = said.endpoints.map(({ workload, path }) => [workload, path]);
  t.strictSame(Object.fromEntries(paths), { server: 'direct', [remote.name]: 'tunnel' });
  t.match(said.why, /1 of 2/);
  await world.become({ waypoint: true });
  t.match(engine.explain({ source: 'client', destination: vip.ipv4, port: tells.port }), {
    path: 'refused',
  });
});

await t.test('an endpoint that does not accept is left out for a while', async (t) => {
  await world.become({});
  const errors = async (): Promise<number> => {
    const { ECONNREFUSED = 0 } = await app.reachEach(vip.ipv4, refuses.port, 20);
    return ECONNREFUSED;
  };
  let refused = await errors();
  for (const until = Date.now() + 5_000; (await errors()) > 0 && Date.now() < until; refused += 1);
  t.ok(refused > 0, 'it was tried');
  const steps = counterSteps();
  t.strictSame(await app.reachEach(vip.ipv4, refuses.port, 20), { [remote.ipv4]: 20 });
  t.match(steps(), { outbound_captured: 20, direct_allowed: undefined });
  const { here, there } = await reach('ipv4', 200);
  t.equal(here + there, 200);
  isShare(t, here, 0.5, 200);
});

await t.test('what was published outlives the engine', async (t) => {
  await world.become({ remote: null });
  engine.stop();
  const steps = counterSteps();
  t.strictSame(await app.reachEach(vip.ipv4, tells.port, 20), { [serverPod.ipv4]: 20 });
  t.match(steps(), { direct_passed: 20, outbound_captured: undefined });
});
