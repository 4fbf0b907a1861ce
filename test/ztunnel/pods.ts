// SPDX-License-Identifier: Apache-2.0
// Engine, placement and certificates are fakes; descriptors are real, of files that stand in for
// namespaces.
import { closeSync, fstatSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { mock } from 'node:test';
import t, { type Test } from 'tap';
import { MeshError } from '../../src/lib/error.ts';
import { createLog } from '../../src/lib/log.ts';
import type { PodClaim } from '../../ztunnel/apply.ts';
import {
  type CarriedPod,
  Pods,
  placementWaitMs,
  podsMax,
  retryFirstMs,
  retryMaxMs,
} from '../../ztunnel/pods.ts';
import type { TableWorkload } from '../../ztunnel/translate.ts';

const log = createLog('test', 'silent');
const claim = { name: 'client', namespace: 'demo', serviceAccount: 'client' };
const spiffeId = 'spiffe://cluster.local/ns/demo/sa/client';

function workloadOf(of: PodClaim): TableWorkload {
  return {
    ...of,
    uid: `Kubernetes//Pod/${of.namespace}/${of.name}`,
    trustDomain: 'cluster.local',
    node: 'a',
  };
}

function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function setUp(t: Test) {
  const dir = t.testdir({ one: '', two: '' });
  const calls: string[] = [];
  const open = new Set<number>();
  const state = {
    placed: true,
    startable: true,
    isNetns: true,
    waits: [] as number[],
    specs: [] as CarriedPod[],
    nameservers: ['10.0.0.53'],
  };
  // What a test holds up, and goes on with when it wants.
  const gates: { placing?: Promise<void>; starting?: Promise<void> } = {};
  const engine = {
    addPod: async (pod: CarriedPod) => {
      // The engine duplicates the descriptor, so it has to be open now.
      fstatSync(pod.netns);
      if (!state.startable) {
        throw new MeshError('unavailable', 'listen failed');
      }
      state.specs.push(pod);
      calls.push(`add ${pod.uid}`);
      await gates.starting;
    },
    removePod: async (uid: string) => {
      calls.push(`remove ${uid}`);
    },
    podChanged: () => calls.push('changed'),
  };
  const placement = {
    waitPlaced: async (of: PodClaim, timeoutMs: number) => {
      state.waits.push(timeoutMs);
      await gates.placing;
      return state.placed ? workloadOf(of) : undefined;
    },
  };
  const identities = {
    hold: (id: string, uid: string) => calls.push(`hold ${id} ${uid}`),
    release: (id: string, uid: string) => calls.push(`release ${id} ${uid}`),
  };
  const closeFd = (fd: number): void => {
    closeSync(fd);
    open.delete(fd);
  };
  const isNetns = () => state.isNetns;
  const parts = { engine, placement, identities, closeFd, isNetns, onChange: () => undefined, log };
  const pods = new Pods(parts);
  const netns = (name: string): number => {
    const fd = openSync(join(dir, name), 'r');
    open.add(fd);
    return fd;
  };
  t.teardown(() => pods.close());
  const add = (uid: string, of: PodClaim = claim, name = 'one') =>
    pods.onRequest({ kind: 'add', uid, claim: of, nameservers: state.nameservers }, netns(name));
  return { pods, add, calls, gates, open, state, netns };
}

t.test('an add that the control plane confirms is carried with its identity', async (t) => {
  const { pods, add, calls, open, state } = setUp(t);
  await add('u1');
  t.same(calls, [`hold ${spiffeId} u1`, 'add u1']);
  t.match(state.specs, [{ uid: 'u1', workloadUid: 'Kubernetes//Pod/demo/client', spiffeId }]);
  t.equal(open.size, 0, 'the descriptor is closed');
  t.equal(pods.count, 1);
});

t.test('an add waits for its placement, but not in a snapshot, which may be long', async (t) => {
  const { pods, add, state } = setUp(t);
  pods.onConnect();
  await add('u1');
  await pods.onRequest({ kind: 'snapshot sent', takesMeshConfig: false }, -1);
  await add('u2');
  t.same(state.waits, [0, placementWaitMs]);
});

t.test('one that takes no more carries what it has until that goes', async (t) => {
  const { pods, add, calls, open, state } = setUp(t);
  await add('u1');
  state.placed = false;
  await add('u2').catch(() => undefined);
  state.placed = true;
  pods.takeNoMore();
  t.equal(open.size, 0, 'what waited is let go');
  await add('u1');
  await t.rejects(add('u3'), { code: 'unavailable', message: /another process/ });
  t.equal(open.size, 0);
  t.equal(pods.count, 1);
  pods.onConnect();
  await add('u1');
  await pods.onRequest({ kind: 'snapshot sent', takesMeshConfig: false }, -1);
  t.equal(pods.count, 1, 'also when the agent comes back');
  await pods.onRequest({ kind: 'del', uid: 'u1' }, -1);
  t.ok(calls.includes('remove u1'));
});

t.test('an add that it does not confirm is refused', async (t) => {
  const { pods, add, calls, state } = setUp(t);
  state.placed = false;
  await t.rejects(add('u1'), {
    code: 'denied',
    message: /no pod demo\/client with service account/,
  });
  t.same(calls, []);
  t.equal(pods.count, 0);
});

t.test('the same pod again is looked at again, and its second descriptor is closed', async (t) => {
  const { add, calls, open } = setUp(t);
  await add('u1');
  await add('u1');
  t.same(calls.slice(2), ['changed']);
  t.equal(open.size, 0);
});

t.test('the same uid in a new namespace is a restart', async (t) => {
  const { add, calls, open } = setUp(t);
  await add('u1');
  await add('u1', claim, 'two');
  t.same(calls.slice(2), ['remove u1', `release ${spiffeId} u1`, `hold ${spiffeId} u1`, 'add u1']);
  t.equal(open.size, 0);
});

t.test('the same uid under another account is a restart with that identity', async (t) => {
  const { add, state } = setUp(t);
  await add('u1');
  await add('u1', { ...claim, serviceAccount: 'other' });
  t.match(state.specs.at(-1), { spiffeId: 'spiffe://cluster.local/ns/demo/sa/other' });
});

t.test('the same uid with other resolvers is a restart with those', async (t) => {
  const { add, calls, state } = setUp(t);
  await add('u1');
  t.match(state.specs.at(-1), { namespace: 'demo', nameservers: ['10.0.0.53'] });
  state.nameservers = ['10.0.0.54'];
  await add('u1');
  t.ok(calls.includes('remove u1'));
  t.match(state.specs.at(-1), { nameservers: ['10.0.0.54'] });
});

t.test('a delete ends the pod and is no error when there is none', async (t) => {
  const { pods, add, calls } = setUp(t);
  await add('u1');
  await pods.onRequest({ kind: 'del', uid: 'u1' }, -1);
  await pods.onRequest({ kind: 'del', uid: 'u1' }, -1);
  t.same(calls.slice(2), ['remove u1', `release ${spiffeId} u1`]);
});

t.test('a keep of an unknown pod is refused', async (t) => {
  const { pods, add } = setUp(t);
  await add('u1');
  await pods.onRequest({ kind: 'keep', uid: 'u1' }, -1);
  await t.rejects(pods.onRequest({ kind: 'keep', uid: 'u2' }, -1), { code: 'invalid' });
});

t.test('a snapshot drops what it did not list, and makes us ready', async (t) => {
  const { pods, add, calls } = setUp(t);
  pods.onConnect();
  await add('u1');
  await add('u2', { ...claim, name: 'two' }, 'two');
  t.equal(pods.ready, false);
  await pods.onRequest({ kind: 'snapshot sent', takesMeshConfig: false }, -1);
  t.equal(pods.ready, true);
  pods.onDisconnect();
  t.equal(pods.ready, false, 'the agent is away');
  t.equal(pods.count, 2, 'and the pods go on');
  pods.onConnect();
  await pods.onRequest({ kind: 'keep', uid: 'u2' }, -1);
  await pods.onRequest({ kind: 'snapshot sent', takesMeshConfig: false }, -1);
  t.ok(calls.includes('remove u1'));
  t.notOk(calls.includes('remove u2'));
});

t.test('a pod that fails to start is pending, and tried again until it runs', async (t) => {
  const { pods, add, calls, open, state } = setUp(t);
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  state.startable = false;
  pods.onConnect();
  await t.rejects(add('u1'), { message: 'listen failed' });
  t.same(calls, [`hold ${spiffeId} u1`, `release ${spiffeId} u1`]);
  await pods.onRequest({ kind: 'snapshot sent', takesMeshConfig: false }, -1);
  t.equal(pods.ready, false);
  t.equal(open.size, 1, 'the namespace is kept');
  mock.timers.tick(retryFirstMs);
  await settle();
  t.equal(pods.count, 0);
  state.startable = true;
  mock.timers.tick(2 * retryFirstMs);
  await settle();
  t.equal(pods.count, 1);
  t.equal(pods.ready, true);
  t.equal(open.size, 0);
  t.same(state.waits, [0, 0, 0], 'a retry does not block the others');
});

t.test('the waits between the tries double from short to long, for each pod anew', async (t) => {
  const { add, pods, state } = setUp(t);
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  state.startable = false;
  const waits = [100, 200, 400, 800, 1_600, 3_200, retryMaxMs, retryMaxMs];
  for (const uid of ['u1', 'u2']) {
    await t.rejects(add(uid), { message: 'listen failed' });
    state.waits = [];
    for (const [index, waitMs] of waits.entries()) {
      mock.timers.tick(waitMs - 1);
      await settle();
      t.equal(state.waits.length, index, `not before ${waitMs} ms`);
      mock.timers.tick(1);
      await settle();
      t.equal(state.waits.length, index + 1, `after ${waitMs} ms`);
    }
    await pods.onRequest({ kind: 'del', uid }, -1);
  }
});

t.test('a pending pod that is deleted is forgotten, descriptor and all', async (t) => {
  const { pods, add, open, state } = setUp(t);
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  state.startable = false;
  await t.rejects(add('u1'));
  await pods.onRequest({ kind: 'del', uid: 'u1' }, -1);
  t.equal(open.size, 0);
  state.startable = true;
  mock.timers.tick(retryMaxMs);
  await settle();
  t.equal(pods.count, 0);
});

t.test('one pod past the maximum is refused and its descriptor closed', async (t) => {
  const { pods, add, open } = setUp(t);
  for (let i = 0; i < podsMax; i += 1) {
    await add(`u${i}`);
  }
  await t.rejects(add('one more'), { code: 'limit' });
  t.equal(pods.count, podsMax);
  t.equal(open.size, 0);
});

t.test('requests are carried out one after the other', async (t) => {
  const { pods, add, calls } = setUp(t);
  const all = [add('u1'), pods.onRequest({ kind: 'del', uid: 'u1' }, -1), add('u1')];
  await Promise.all(all);
  t.same(calls, [
    `hold ${spiffeId} u1`,
    'add u1',
    'remove u1',
    `release ${spiffeId} u1`,
    `hold ${spiffeId} u1`,
    'add u1',
  ]);
});

t.test('a stop while the engine starts a pod closes its descriptor once', async (t) => {
  const { pods, add, gates, open } = setUp(t);
  const gate = Promise.withResolvers<void>();
  gates.starting = gate.promise;
  const adding = add('u1');
  await settle();
  pods.close();
  t.equal(open.size, 0);
  gate.resolve();
  // A second close would fail here: the descriptor is none any more.
  await adding;
  t.equal(pods.count, 1);
});

t.test('a stop while a pod waits for its placement never shows the engine the pod', async (t) => {
  const { pods, add, calls, gates, open } = setUp(t);
  const gate = Promise.withResolvers<void>();
  gates.placing = gate.promise;
  const adding = add('u1');
  await settle();
  pods.close();
  gate.resolve();
  await t.rejects(adding, { code: 'unavailable' });
  t.same(calls, []);
  t.equal(open.size, 0);
});

t.test('after a stop nothing is added', async (t) => {
  const { pods, add, calls, open } = setUp(t);
  pods.close();
  await t.rejects(add('u1'), { code: 'unavailable' });
  t.same(calls, []);
  t.equal(open.size, 0);
});

t.test('a descriptor of anything else is refused once, and not kept', async (t) => {
  const { pods, add, calls, open, state } = setUp(t);
  state.isNetns = false;
  await t.rejects(add('u1'), { code: 'invalid', message: /no network namespace/ });
  t.same(calls, []);
  t.same(pods.list(), []);
  t.equal(open.size, 0, 'the descriptor is closed');
});
