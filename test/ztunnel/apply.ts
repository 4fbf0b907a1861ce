// SPDX-License-Identifier: Apache-2.0
// The sink is a fake that keeps the deltas and refuses what it is told to; the engine's own checks
// have their tests in C++.
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import t from 'tap';
import { PolicyAction } from '../../native/gen/tables_pb.js';
import { MeshError } from '../../src/lib/error.ts';
import type { UpdateOf } from '../../src/xds/client.ts';
import {
  AddressSchema,
  AuthorizationSchema,
  AuthorizationScope,
  NetworkMode,
  TunnelProtocol,
  typeUrls,
  type WorkloadSchema,
} from '../../src/xds/wire.ts';
import { Applier, type Delta } from '../../ztunnel/apply.ts';

const claim = { name: 'client', namespace: 'demo', serviceAccount: 'client' };

function workload(uid: string, change: MessageInitShape<typeof WorkloadSchema> = {}) {
  const value = {
    uid,
    name: uid,
    namespace: 'demo',
    serviceAccount: uid,
    node: 'a',
    tunnelProtocol: TunnelProtocol.HBONE,
    ...change,
  };
  return create(AddressSchema, { type: { case: 'workload', value } });
}

function service(hostname: string) {
  const value = { name: hostname, namespace: 'demo', hostname };
  return create(AddressSchema, { type: { case: 'service', value } });
}

type AddressUpdate = UpdateOf<typeof typeUrls.address>;
type PolicyUpdate = UpdateOf<typeof typeUrls.authorization>;

function addresses(
  changed: Parameters<typeof entriesOf>[0],
  removed: string[] = [],
): AddressUpdate {
  return { type: typeUrls.address, changed: entriesOf(changed), removed, broken: [] };
}

function entriesOf(changed: Record<string, ReturnType<typeof workload>>) {
  return new Map(Object.entries(changed));
}

function policies(
  names: readonly string[],
  removed: string[] = [],
  broken: string[] = [],
): PolicyUpdate {
  const changed = new Map(
    names.map((name) => [
      `demo/${name}`,
      create(AuthorizationSchema, {
        name,
        namespace: 'demo',
        scope: AuthorizationScope.NAMESPACE,
        rules: name === 'bad' ? [{ clauses: [{ matches: [{ destinationPorts: [0] }] }] }] : [],
      }),
    ]),
  );
  return { type: typeUrls.authorization, changed, removed, broken };
}

function fakeSink(refuse: (delta: Delta) => boolean = () => false) {
  const deltas: Delta[] = [];
  return {
    deltas,
    apply(delta: Delta) {
      if (refuse(delta)) {
        throw new MeshError('invalid', 'the engine refuses');
      }
      deltas.push(delta);
    },
  };
}

t.test('one update becomes one delta, and its workloads and services are known', async (t) => {
  const sink = fakeSink();
  const applier = new Applier(sink, 'a');
  const rejected = applier.update(
    addresses({ client: workload('client'), 'demo/web': service('web') }),
  );
  t.equal(rejected.size, 0);
  t.equal(sink.deltas.length, 1);
  t.match(sink.deltas[0], {
    workloads: [{ uid: 'client' }],
    services: [{ key: 'demo/web' }],
    policiesReceived: false,
  });
  t.equal(applier.workload('client')?.name, 'client');
  t.equal(applier.service('demo/web')?.hostname, 'web');
});

t.test('the first Authorization response, even an empty one, says policies are here', async (t) => {
  const sink = fakeSink();
  const applier = new Applier(sink, 'a');
  applier.update(policies([]));
  t.match(sink.deltas, [{ policiesReceived: true, policies: [] }]);
});

t.test('removals name only what is held, of the right kind', async (t) => {
  const sink = fakeSink();
  const applier = new Applier(sink, 'a');
  applier.update(addresses({ client: workload('client'), 'demo/x': service('x') }));
  applier.update(policies(['x']));
  applier.update(policies([], ['demo/x', 'demo/unknown']));
  t.match(sink.deltas.at(-1), { removedPolicies: ['demo/x'], removedServices: [] });
  t.ok(applier.service('demo/x'), 'a service of the same name stays');
  applier.update(addresses({}, ['client', 'demo/x', 'unknown']));
  t.match(sink.deltas.at(-1), { removedWorkloads: ['client'], removedServices: ['demo/x'] });
  t.equal(applier.workload('client'), undefined);
  t.equal(applier.placed(claim), undefined);
});

t.test('a bad resource is rejected by name; its last good version stays', async (t) => {
  const sink = fakeSink();
  const applier = new Applier(sink, 'a');
  applier.update(addresses({ client: workload('client') }));
  const rejected = applier.update(
    addresses({ client: workload('client', { name: '' }), other: workload('other') }),
  );
  t.match([...rejected], [['client', /name is missing/]]);
  t.equal(applier.workload('client')?.name, 'client');
  t.equal(applier.workload('other')?.name, 'other');
  t.match([...applier.update(policies(['good', 'bad']))], [['demo/bad', /port 0/]]);
  t.match(sink.deltas.at(-1)?.policies, [{ key: 'demo/good' }, { key: 'demo/bad', rules: [] }]);
});

t.test('what the engine refuses is found one by one, and the rest is applied', async (t) => {
  const sink = fakeSink(({ workloads }) => workloads?.some(({ uid }) => uid === 'b') ?? false);
  const applier = new Applier(sink, 'a');
  const rejected = applier.update(
    addresses({ a: workload('a'), b: workload('b'), c: workload('c') }),
  );
  t.match([...rejected], [['b', /the engine refuses/]]);
  t.ok(applier.workload('a'));
  t.equal(applier.workload('b'), undefined);
  t.ok(applier.workload('c'));
});

t.test('a lost policy is stood in for by one that lets nobody through', async (t) => {
  const sink = fakeSink();
  const applier = new Applier(sink, 'a');
  applier.update(policies(['bad'], [], ['demo/broken']));
  t.match(
    sink.deltas,
    [
      {
        policies: [
          { key: 'demo/broken', action: PolicyAction.ACTION_DENY, rules: [{ clauses: [] }] },
          { key: 'demo/bad', action: PolicyAction.ACTION_ALLOW, rules: [] },
        ],
        policiesReceived: true,
      },
    ],
    'not after traffic is let through for the first time',
  );
  applier.update(policies(['bad'], ['demo/broken']));
  t.match(sink.deltas.at(-1), { removedPolicies: ['demo/broken'] }, 'until it goes');
  t.equal(sink.deltas.length, 2, 'and once only');
});

t.test('a name that is both changed and removed counts as changed', async (t) => {
  const sink = fakeSink();
  const applier = new Applier(sink, 'a');
  for (const delta of [1, 2]) {
    applier.update(policies(['p'], ['demo/p']));
    t.match(sink.deltas.at(-1), { policies: [{ key: 'demo/p' }], removedPolicies: [] });
    applier.update(addresses({ client: workload('client') }, ['client']));
    t.match(sink.deltas.at(-1), { workloads: [{ uid: 'client' }], removedWorkloads: [] });
    t.ok(applier.workload('client'), `time ${delta}`);
  }
  applier.update(policies([], ['demo/p'], ['demo/p']));
  t.match(sink.deltas.at(-1), { policies: [], removedPolicies: [] }, 'unreadable, too');
});

t.test('a policy that was good before stays as it was when its next version is bad', async (t) => {
  const sink = fakeSink();
  const applier = new Applier(sink, 'a');
  applier.update(policies(['p']));
  applier.update(policies([], [], ['demo/p']));
  t.match(sink.deltas, [{ policies: [{ key: 'demo/p' }] }, { policies: [] }]);
});

t.test(
  'policies count as received although one was refused, once it is stood in for',
  async (t) => {
    const sink = fakeSink(
      ({ policies: list }) => list?.some(({ dryRun }) => dryRun !== undefined) ?? false,
    );
    const applier = new Applier(sink, 'a');
    t.match([...applier.update(policies(['p']))], [['demo/p', /^the engine refuses/]]);
    t.match(sink.deltas, [
      { policies: [{ key: 'demo/p', rules: [] }] },
      { policiesReceived: true },
    ]);
    t.notOk(sink.deltas[0]?.policiesReceived);
  },
);

t.test('a policy that is refused, and its stand-in too, is named as that', async (t) => {
  const sink = fakeSink(({ policies: list }) => (list?.length ?? 0) > 0);
  const applier = new Applier(sink, 'a');
  const rejected = applier.update(policies(['p'], [], ['demo/broken']));
  t.match(
    new Map(rejected),
    new Map([
      ['demo/p', /^not stood/],
      ['demo/broken', /^not stood/],
    ]),
  );
});

t.test('a workload that moves to another network is replaced, and says where it is', async (t) => {
  const sink = fakeSink();
  const applier = new Applier(sink, 'a');
  applier.update(addresses({ client: workload('client') }));
  applier.update(addresses({ client: workload('client', { network: 'far' }) }));
  t.match(sink.deltas.at(-1), { workloads: [{ network: 'far' }], removedWorkloads: [] });
});

t.test('a claim is placed only by its exact name, namespace and account, here', async (t) => {
  const applier = new Applier(fakeSink(), 'a');
  applier.update(addresses({ client: workload('client') }));
  t.equal(applier.placed(claim)?.uid, 'client');
  for (const change of [{ name: 'x' }, { namespace: 'x' }, { serviceAccount: 'x' }]) {
    t.equal(applier.placed({ ...claim, ...change }), undefined);
  }
  applier.update(addresses({ client: workload('client', { node: 'b' }) }));
  t.equal(applier.placed(claim), undefined, 'it moved to another node');
});

t.test('identities are those of enrolled workloads of this node', async (t) => {
  const applier = new Applier(fakeSink(), 'a');
  applier.update(
    addresses({
      client: workload('client'),
      twin: workload('twin', { serviceAccount: 'client' }),
      far: workload('far', { node: 'b' }),
      plain: workload('plain', { tunnelProtocol: TunnelProtocol.NONE }),
      host: workload('host', { networkMode: NetworkMode.HOST_NETWORK }),
    }),
  );
  t.same([...applier.localIdentities()], ['spiffe://cluster.local/ns/demo/sa/client']);
});

t.test('waitPlaced resolves when the workload appears', async (t) => {
  const applier = new Applier(fakeSink(), 'a');
  const waiting = applier.waitPlaced(claim, 60_000);
  applier.update(addresses({ other: workload('other') }));
  applier.update(addresses({ client: workload('client') }));
  t.equal((await waiting)?.uid, 'client');
  t.equal((await applier.waitPlaced(claim, 0))?.uid, 'client');
});

t.test('waitPlaced gives up after its time', async (t) => {
  const applier = new Applier(fakeSink(), 'a');
  t.equal(await applier.waitPlaced(claim, 0), undefined);
  t.equal(await applier.waitPlaced(claim, 1), undefined);
});
