// SPDX-License-Identifier: Apache-2.0
import { chmodSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mock } from 'node:test';
import { create } from '@bufbuild/protobuf';
import t, { type Test } from 'tap';
import { createLog } from '../../src/lib/log.ts';
import { type Resource, ResourceSchema, type TypeUrl, typeUrls } from '../../src/xds/wire.ts';
import { clockSkewMs, StateCache, saveDelayMs } from '../../ztunnel/state-cache.ts';

function resource(type: TypeUrl, name: string, version = '1'): Resource {
  const value = new TextEncoder().encode(`body of ${name}`);
  return create(ResourceSchema, { name, version, resource: { typeUrl: type, value } });
}

interface Change {
  readonly bytesMax?: number;
  readonly node?: string;
  readonly maxAgeMs?: number;
}

function setUp(t: Test) {
  const stateDir = t.testdir();
  const path = join(stateDir, 'state.bin');
  const reasons: string[] = [];
  const log = createLog('test', 'info', {
    write: (line) => void reasons.push(String(JSON.parse(line).reason)),
  });
  const server = { live: true };
  const open = ({ node = 'a', maxAgeMs = 3_600_000, bytesMax = 1_000_000 }: Change = {}) => {
    const live = () => server.live;
    const cache = new StateCache({ stateDir, node, maxAgeMs, live, log, bytesMax });
    t.teardown(() => cache.close());
    return cache;
  };
  const saved = async () => {
    const cache = open();
    const { address, authorization } = typeUrls;
    cache.record({ type: authorization, resources: [], removed: [] });
    const resources = ['one', 'two'].map((name) => resource(address, name));
    cache.record({ type: address, resources, removed: [] });
    await cache.close();
    return resources;
  };
  return { open, path, reasons, saved, server };
}

t.test('what was told comes back, with versions, and which types were answered', async (t) => {
  const { open, path, saved } = setUp(t);
  const resources = await saved();
  const state = open().load();
  t.same(state?.resources.get(typeUrls.address), resources);
  t.same(state?.resources.get(typeUrls.authorization), [], 'no policy is an answer too');
  t.equal(state?.resources.has(typeUrls.trustBundle), false);
  t.ok(Math.abs(Date.now() - (state?.confirmed.getTime() ?? 0)) < 10_000);
  t.equal(statSync(path).mode & 0o777, 0o600);
});

t.test('the last version of each counts, and what was removed is gone', async (t) => {
  const { open } = setUp(t);
  const type = typeUrls.address;
  const cache = open();
  const resources = [resource(type, 'one'), resource(type, 'two')];
  cache.record({ type, resources, removed: [] });
  cache.record({ type, resources: [resource(type, 'one', '2')], removed: ['two'] });
  await cache.close();
  t.match(open().load()?.resources.get(type), [{ name: 'one', version: '2' }]);
});

t.test('one that is closed writes no more, whatever it is told', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  const { open, path } = setUp(t);
  const cache = open();
  await cache.close();
  cache.record({ type: typeUrls.address, resources: [], removed: [] });
  mock.timers.tick(saveDelayMs);
  await cache.close();
  t.throws(() => statSync(path), { code: 'ENOENT' });
});

t.test('without a file there is no state, and that is no news', (t) => {
  const { open, reasons } = setUp(t);
  t.equal(open().load(), undefined);
  t.same(reasons, []);
  t.end();
});

t.test('it is saved after a moment, many changes at once', async (t) => {
  const { open, path } = setUp(t);
  const type = typeUrls.address;
  const cache = open();
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  for (const name of ['one', 'two']) {
    cache.record({ type, resources: [resource(type, name)], removed: [] });
  }
  mock.timers.tick(saveDelayMs - 1);
  t.throws(() => readFileSync(path), { code: 'ENOENT' });
  mock.timers.tick(1);
  await cache.close();
  t.equal(open().load()?.resources.get(type)?.length, 2);
});

t.test('what was only restored keeps its age', async (t) => {
  const { open, path, saved, server } = setUp(t);
  const resources = await saved();
  const before = readFileSync(path);
  server.live = false;
  const cache = open();
  cache.record({ type: typeUrls.address, resources, removed: [] });
  await cache.close();
  t.same(readFileSync(path), before);
});

t.test(
  'state that is too old, of another node or changed is refused, and why is said',
  async (t) => {
    const { open, path, reasons, saved } = setUp(t);
    await saved();
    const good = readFileSync(path);
    t.equal(open({ maxAgeMs: -1 }).load(), undefined);
    t.match(reasons.at(-1), /s old, over/);
    t.equal(open({ node: 'b' }).load(), undefined);
    t.match(reasons.at(-1), /state of node a/);
    for (let at = 0; at < good.length; at += 1) {
      const wrong = Buffer.from(good);
      wrong.writeUInt8(wrong.readUInt8(at) ^ 1, at);
      writeFileSync(path, wrong);
      if (open().load() !== undefined) {
        t.fail(`a changed byte ${at} was not seen`);
      }
    }
    for (const torn of [good.subarray(0, 0), good.subarray(0, 20), good.subarray(0, -1)]) {
      writeFileSync(path, torn);
      t.equal(open().load(), undefined);
    }
    writeFileSync(path, good);
    t.ok(open().load());
  },
);

t.test('state from further ahead than clocks may differ is refused', async (t) => {
  const { open, reasons, saved } = setUp(t);
  mock.timers.enable({ apis: ['Date'], now: Date.now() });
  t.teardown(() => mock.timers.reset());
  await saved();
  const savedMs = Date.now();
  mock.timers.setTime(savedMs - clockSkewMs);
  t.ok(open().load(), 'at the limit');
  mock.timers.setTime(savedMs - clockSkewMs - 1);
  t.equal(open().load(), undefined, 'one past it');
  t.match(reasons.at(-1), /it is from 60 s ahead of the clock/);
});

t.test('state that others may read or write is refused', async (t) => {
  const { open, path, reasons, saved } = setUp(t);
  await saved();
  chmodSync(path, 0o620);
  t.equal(open().load(), undefined);
  t.match(reasons.at(-1), /open to others/);
});

t.test('a folder that cannot be written to is said, and the process goes on', async (t) => {
  const { reasons } = setUp(t);
  const log = createLog('test', 'info', {
    write: (line) => void reasons.push(String(JSON.parse(line).reason)),
  });
  const stateDir = join(t.testdir(), 'missing');
  const cache = new StateCache({ stateDir, node: 'a', maxAgeMs: 1_000, live: () => true, log });
  cache.record({ type: typeUrls.address, resources: [], removed: [] });
  await cache.close();
  t.match(reasons.at(-1), /no such file/);
});

t.test('state at its largest is written and read, and one byte more is neither', async (t) => {
  const { open, path, reasons, saved } = setUp(t);
  const resources = await saved();
  const { size } = statSync(path);
  const write = async (bytesMax: number): Promise<void> => {
    rmSync(path, { force: true });
    const cache = open({ bytesMax });
    cache.record({ type: typeUrls.authorization, resources: [], removed: [] });
    cache.record({ type: typeUrls.address, resources, removed: [] });
    await cache.close();
  };
  await write(size);
  t.equal(statSync(path).size, size);
  t.ok(open({ bytesMax: size }).load());
  t.equal(open({ bytesMax: size - 1 }).load(), undefined);
  t.match(reasons.at(-1), /is over/);
  await write(size - 1);
  t.throws(() => statSync(path), { code: 'ENOENT' });
  t.match(reasons.at(-1), /the state is over/);
});
