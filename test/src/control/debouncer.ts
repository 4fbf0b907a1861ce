// SPDX-License-Identifier: Apache-2.0
import { mock } from 'node:test';
import t, { type Test } from 'tap';
import { Debouncer } from '../../../src/control/debouncer.ts';

/** A debouncer on a clock that only the test moves, and the times at which it ran. */
function setUp(t: Test) {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  const runs: number[] = [];
  let now = 0;
  const times = { quietMs: 10, maxMs: 40 };
  const debouncer = new Debouncer(
    () => runs.push(now),
    times,
    () => now,
  );
  const advance = (ms: number) => {
    for (let left = ms; left > 0; left -= 1) {
      now += 1;
      mock.timers.tick(1);
    }
  };
  return { advance, runs, debouncer };
}

t.test('what comes alone runs at once', async (t) => {
  const { advance, runs, debouncer } = setUp(t);
  debouncer.trigger();
  t.same(runs, [0]);
  advance(10);
  debouncer.trigger();
  t.same(runs, [0, 10]);
  advance(100);
  t.same(runs, [0, 10], 'once each');
});

t.test('what comes together runs when it is quiet', async (t) => {
  const { advance, runs, debouncer } = setUp(t);
  debouncer.trigger();
  advance(4);
  debouncer.trigger();
  advance(4);
  debouncer.trigger();
  advance(9);
  t.same(runs, [0]);
  advance(1);
  t.same(runs, [0, 18]);
  advance(5);
  debouncer.trigger();
  t.same(runs, [0, 18, 23], 'the burst was over');
});

t.test('a burst that does not end waits no longer than the maximum', async (t) => {
  const { advance, runs, debouncer } = setUp(t);
  for (let turn = 0; turn < 20; turn += 1) {
    debouncer.trigger();
    advance(5);
  }
  t.same(runs, [0, 45, 85]);
});

t.test('nothing runs after stop()', async (t) => {
  const { advance, runs, debouncer } = setUp(t);
  debouncer.trigger();
  debouncer.trigger();
  debouncer.stop();
  advance(100);
  t.same(runs, [0]);
});
