// SPDX-License-Identifier: Apache-2.0
import { mock } from 'node:test';
import t from 'tap';
import { Retries, retryFirstMs, retryMaxMs } from '../../../src/cni/retries.ts';

t.test('a key is tried once per call, after a wait that grows until it is stopped', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  const retries = new Retries();
  const done: string[] = [];
  const first = retries.later('a', () => done.push('replaced'));
  t.ok(first <= retryFirstMs * 1.2);
  const waits = Array.from({ length: 10 }, () => retries.later('a', () => done.push('a')));
  t.ok(waits.every((waitMs) => waitMs <= retryMaxMs * 1.2));
  t.ok((waits.at(-1) ?? 0) > first * 10);
  retries.later('b', () => done.push('b'));
  retries.stop('b');
  mock.timers.tick(retryMaxMs * 2);
  t.same(done, ['a']);
  retries.stop('a');
  t.ok(retries.later('a', () => undefined) <= retryFirstMs * 1.2, 'it begins anew');
});
