// SPDX-License-Identifier: Apache-2.0
import { mock } from 'node:test';
import t, { type Test } from 'tap';
import { LineLimit } from '../../ztunnel/line-limit.ts';

function setUp(t: Test) {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  const told: [string, number][] = [];
  const onLeftOut = (kind: string, lines: number) => told.push([kind, lines]);
  const limit = new LineLimit({ linesMax: 2, windowMs: 1000, onLeftOut });
  const ask = (kind: string, times: number) =>
    Array.from({ length: times }, () => limit.allows(kind));
  return { ask, limit, told };
}

t.test('so many lines pass in a window; what was left out is told once', async (t) => {
  const { ask, told } = setUp(t);
  t.same(ask('a', 2), [true, true]);
  t.same(ask('a', 3), [false, false, false]);
  mock.timers.tick(999);
  t.same(ask('a', 1), [false]);
  t.same(told, []);
  mock.timers.tick(1);
  t.same(told, [['a', 4]]);
  t.same(ask('a', 1), [true]);
  mock.timers.tick(1000);
  t.same(told, [['a', 4]], 'nothing was left out of the second window');
});

t.test('each kind has its own limit', async (t) => {
  const { ask } = setUp(t);
  ask('a', 3);
  t.same(ask('b', 3), [true, true, false]);
});

t.test('a flush tells at once, and only once', async (t) => {
  const { ask, limit, told } = setUp(t);
  ask('a', 3);
  limit.flush();
  t.same(told, [['a', 1]]);
  mock.timers.tick(1000);
  t.same(told, [['a', 1]]);
});
