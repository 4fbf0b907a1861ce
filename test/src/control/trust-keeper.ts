// SPDX-License-Identifier: Apache-2.0
// The authority is real; the ADS server is the test's.
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import t, { type Test } from 'tap';
import { Authority } from '../../../src/ca/authority.ts';
import { intermediateDays, rootYears } from '../../../src/ca/generation.ts';
import { LeafLedger } from '../../../src/ca/leaf-ledger.ts';
import { TrustKeeper } from '../../../src/control/trust-keeper.ts';
import { createLog } from '../../../src/lib/log.ts';
import type { MeshObject } from '../../../src/mesh/objects.ts';
import type { Publication } from '../../../src/xds/server.ts';
import type { Caller } from '../../../src/xds/stream.ts';
import {
  ResourceSchema,
  type TrustBundle,
  TrustBundleSchema,
  typeUrls,
} from '../../../src/xds/wire.ts';

const web = 'spiffe://td/ns/demo/sa/web';

function listOf(name: string, identities: string[], serials: string[] = []): MeshObject {
  return { kind: 'DenyList', value: { name, identities, serials } };
}

// Streams that are open all the time.
const callers: readonly Caller[] = [
  { name: 'spiffe://td/node/a', node: 'a', serial: 'a1' },
  { name: 'spiffe://td/node/b', node: 'b', serial: 'b1' },
];

async function setUp(t: Test) {
  const time = { ms: Date.now() };
  const now = () => new Date(time.ms);
  const folder = join(t.testdir(), 'state');
  const authority = await Authority.open(folder, 'td', now());
  const ledger = await LeafLedger.open(folder, now());
  t.teardown(() => ledger.close());
  const bundles: TrustBundle[] = [];
  const messages: string[] = [];
  const changes: number[] = [];
  const ended: string[][] = [];
  const ads = {
    publish: (publication: Publication) => {
      const [resource] = publication[typeUrls.trustBundle]?.changed ?? [];
      const body = fromBinary(ResourceSchema, resource?.bytes ?? new Uint8Array());
      bundles.push(fromBinary(TrustBundleSchema, body.resource?.value ?? new Uint8Array()));
      return bundles.length;
    },
    ackedBy: () => ({ acked: [], waiting: [], others: [] }),
    endDenied: (isDenied: (caller: Caller) => boolean) => {
      ended.push(callers.filter(isDenied).map(({ node }) => node));
    },
  };
  const log = createLog('test', 'info', {
    write: (line) => void messages.push(String(JSON.parse(line).msg)),
  });
  const keeper = new TrustKeeper({
    ...{ authority, ledger, ads, log, now },
    places: () => false,
    onRoots: async () => void changes.push(authority.epoch),
  });
  t.teardown(() => keeper.stop());
  return { authority, bundles, changes, ended, folder, keeper, messages, time };
}

t.test('roots and deny lists go out, each change once', async (t) => {
  const { authority, bundles, keeper } = await setUp(t);
  keeper.deny([listOf('a', [web], ['ab']), listOf('b', [web, `${web}2`])]);
  t.equal(bundles.length, 0, 'not before it is started');
  keeper.start();
  t.match(bundles, [{ trustDomain: 'td', epoch: 1n, deniedSerials: ['ab'], retiredRoots: [] }]);
  t.same(bundles[0]?.deniedIdentities, [web, `${web}2`]);
  t.same(
    bundles[0]?.roots,
    authority.roots.map(({ der }) => der),
  );
  keeper.deny([listOf('b', [`${web}2`, web]), listOf('c', [], ['ab'])]);
  t.equal(bundles.length, 1, 'the same in another order is no change');
  t.equal(keeper.denies(web), true);
  keeper.deny([]);
  t.equal(bundles.length, 2);
  t.equal(keeper.denies(web), false);
});

t.test('streams of nodes that are denied end, by identity or serial number', async (t) => {
  const { ended, keeper } = await setUp(t);
  keeper.start();
  keeper.deny([listOf('x', ['spiffe://td/node/a'])]);
  keeper.deny([listOf('x', [], ['b1'])]);
  keeper.deny([listOf('x', [web], ['c1'])]);
  t.same(ended, [['a'], ['b'], []]);
  t.equal(keeper.denies('spiffe://td/node/b', 'c1'), true, 'one of the two is enough');
  t.equal(keeper.denies('spiffe://td/node/b', 'b1'), false);
  t.equal(keeper.denies('spiffe://td/node/b'), false);
});

t.test('each step of a rotation is published, and told to the server', async (t) => {
  const { authority, bundles, changes, keeper } = await setUp(t);
  keeper.start();
  await keeper.rotation.command('prepare', false);
  t.equal(bundles.at(-1)?.roots.length, 2);
  t.equal(bundles.at(-1)?.retiredRoots.length, 0);
  const old = authority.roots[0]?.der ?? new Uint8Array();
  await keeper.rotation.command('activate', true);
  t.same(bundles.at(-1)?.retiredRoots.map(Buffer.from), [
    createHash('sha256').update(old).digest(),
  ]);
  await keeper.rotation.command('finish', true);
  t.equal(bundles.at(-1)?.roots.length, 1);
  t.same(changes, [2, 3, 4]);
});

t.test('the intermediate is renewed in time; what fails is said', async (t) => {
  const { authority, keeper, messages, time } = await setUp(t);
  const before = authority.notAfter;
  await keeper.maintain();
  t.same(authority.notAfter, before);
  time.ms += (intermediateDays / 2 + 1) * 86_400_000;
  await keeper.maintain();
  t.ok(authority.notAfter > before);
  t.equal(messages.at(-1), 'intermediate certificate renewed');
});

t.test('a root in the last fifth of its life is replaced', async (t) => {
  const { authority, keeper, time } = await setUp(t);
  keeper.start();
  const start = time.ms;
  const years = rootYears * 365.25 * 86_400_000;
  time.ms = start + 0.79 * years;
  await keeper.maintain();
  t.equal(authority.phase, 'steady');
  time.ms = start + 0.81 * years;
  await keeper.maintain();
  t.match(authority, { phase: 'prepared', walks: true });
  await keeper.maintain();
  t.equal(authority.epoch, 2, 'once');
});
