// SPDX-License-Identifier: Apache-2.0
// The authority and the ledger are real; who took which bundle, and the time, are the test's.
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Authority } from '../../../src/ca/authority.ts';
import { LeafLedger } from '../../../src/ca/leaf-ledger.ts';
import { absentMsMax, Rotation, settleMs } from '../../../src/control/rotation.ts';
import { createLog } from '../../../src/lib/log.ts';

const nodeA = 'spiffe://td/node/a';
const nodeB = 'spiffe://td/node/b';
const web = 'spiffe://td/ns/demo/sa/web';
const dayMs = 86_400_000;

async function setUp(t: Test) {
  const start = Math.floor(Date.now() / 1000) * 1000;
  const time = { ms: start };
  const now = () => new Date(time.ms);
  const folder = join(t.testdir(), 'state');
  const authority = await Authority.open(folder, 'td', now());
  const ledger = await LeafLedger.open(folder, now());
  t.teardown(() => ledger.close());
  const streams = { acked: [] as string[], waiting: [] as string[], others: [] as string[] };
  const placed = new Set(['a demo web']);
  const changes: string[] = [];
  const parts = {
    ...{ authority, ledger, now },
    acknowledged: () => streams,
    places: (...workload: readonly string[]) => placed.has(workload.join(' ')),
    onChange: async () => void changes.push(authority.phase),
    log: createLog('test', 'silent'),
  };
  const rotation = new Rotation(parts);
  const leaf = async (node: string, spiffeId: string, notAfter = new Date(start + dayMs)) => {
    const generation = authority.signing;
    await ledger.record({ node, spiffeId, generation, serial: 'ab', notAfter }, now());
  };
  /** Looks, waits as long as everything has to be quiet, and looks again. */
  const settle = async () => {
    await rotation.tick();
    time.ms += settleMs;
    await rotation.tick();
  };
  const again = () => new Rotation(parts);
  return { again, authority, changes, leaf, placed, rotation, settle, streams, time };
}

t.test('it activates when every node took the new root, and not before', async (t) => {
  const { authority, changes, leaf, rotation, settle, streams } = await setUp(t);
  await leaf('a', nodeA);
  streams.waiting = [nodeA, nodeB];
  const first = await rotation.command('rotate', false);
  t.match(first, { phase: 'prepared', walks: true });
  t.same(first.waitsFor, [`${nodeA} to take the new root`, `${nodeB} to take the new root`]);
  await settle();
  streams.acked = [nodeA];
  streams.waiting = [nodeB];
  await settle();
  t.equal(authority.phase, 'prepared');
  streams.acked = [nodeA, nodeB];
  streams.waiting = [];
  await rotation.tick();
  t.equal(authority.phase, 'prepared', 'what was taken has to be in force everywhere, too');
  await settle();
  t.equal(authority.phase, 'activated');
  t.same(changes, ['prepared', 'activated']);
});

t.test('it finishes when no leaf under the old root is in use', async (t) => {
  const { authority, changes, leaf, placed, rotation, settle, streams } = await setUp(t);
  streams.acked = [nodeA];
  await leaf('a', nodeA);
  await leaf('a', web);
  await rotation.command('rotate', false);
  await settle();
  t.equal(authority.phase, 'activated');
  await settle();
  t.same(rotation.status().waitsFor, [`a to renew ${nodeA}`, `a to renew ${web}`]);
  await leaf('a', nodeA);
  placed.delete('a demo web');
  t.same(rotation.status().waitsFor, [], 'what is placed there no more is not waited for');
  placed.add('a demo web');
  await settle();
  t.equal(authority.phase, 'activated');
  await leaf('a', web);
  await settle();
  t.match(rotation.status(), { phase: 'steady', walks: false, waitsFor: [] });
  t.same(changes, ['prepared', 'activated', 'steady']);
});

t.test('a leaf that nobody renews is waited for until it has expired', async (t) => {
  const { authority, leaf, rotation, settle, streams, time } = await setUp(t);
  streams.acked = [nodeA];
  await leaf('b', nodeB);
  await rotation.command('rotate', false);
  time.ms += absentMsMax + 1;
  await settle();
  t.equal(authority.phase, 'activated', 'a node that stays away does not hold it up');
  time.ms += dayMs - absentMsMax - 3 * settleMs;
  await settle();
  t.equal(authority.phase, 'activated');
  time.ms += 2 * settleMs;
  await settle();
  t.equal(authority.phase, 'steady');
});

t.test('a node that was there just now is waited for, also after a restart', async (t) => {
  const { again, authority, leaf, rotation, streams, time } = await setUp(t);
  await leaf('a', nodeA);
  streams.waiting = [nodeA];
  await rotation.command('rotate', false);
  streams.waiting = [];
  time.ms += absentMsMax;
  await rotation.tick();
  t.equal(rotation.status().waitsFor.length, 1);
  time.ms += 1;
  t.equal(rotation.status().waitsFor.length, 0);
  const second = again();
  t.match(second.status(), { phase: 'prepared', walks: true, waitsFor: [/node\/a/] });
  streams.acked = [nodeA];
  await second.tick();
  time.ms += settleMs;
  await second.tick();
  t.equal(authority.phase, 'activated');
});

t.test('a node that took the bundle and went away keeps it', async (t) => {
  const { rotation, leaf, streams } = await setUp(t);
  await leaf('a', nodeA);
  streams.acked = [nodeA];
  await rotation.command('prepare', false);
  await rotation.tick();
  streams.acked = [];
  t.same(rotation.status().waitsFor, []);
});

t.test(
  'a node that does not ask for bundles has them after its certificates ran out',
  async (t) => {
    const { rotation, streams, time } = await setUp(t);
    streams.others = [nodeB];
    await rotation.command('prepare', false);
    time.ms += dayMs - 1;
    t.equal(rotation.status().waitsFor.length, 1);
    time.ms += 1;
    t.equal(rotation.status().waitsFor.length, 0);
  },
);

t.test('each step by hand: out of its turn or too early is refused, but for force', async (t) => {
  const { leaf, rotation, streams } = await setUp(t);
  await t.rejects(rotation.command('activate', false), { code: 'conflict' });
  await t.rejects(rotation.command('finish', true), { code: 'conflict' });
  streams.waiting = [nodeA];
  await leaf('a', web);
  t.match(await rotation.command('prepare', false), { phase: 'prepared', walks: false });
  await t.rejects(rotation.command('activate', false), {
    code: 'conflict',
    message: /activate waits for spiffe:\/\/td\/node\/a to take the new root/,
  });
  t.match(await rotation.command('activate', true), { phase: 'activated' });
  await t.rejects(rotation.command('finish', false), { message: /a to renew .*web/ });
  t.match(await rotation.command('rotate', false), { phase: 'activated', walks: true });
  t.match(await rotation.command('finish', true), { phase: 'steady' });
});

t.test('commands that come at one time are carried out one after another', async (t) => {
  const { rotation } = await setUp(t);
  const verbs = ['prepare', 'activate', 'finish'] as const;
  const done = await Promise.all(verbs.map((verb) => rotation.command(verb, true)));
  t.same(
    done.map(({ phase }) => phase),
    ['prepared', 'activated', 'steady'],
  );
});

t.test('of many waits the first are told, and how many more', async (t) => {
  const { rotation, streams } = await setUp(t);
  streams.waiting = Array.from({ length: 25 }, (_, index) => `spiffe://td/node/n${index}`);
  const { waitsFor } = await rotation.command('prepare', false);
  t.equal(waitsFor.length, 21);
  t.equal(waitsFor.at(-1), 'and 5 more');
});
