// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { full, quick, stepsOf, variantNames, workloadNames } from '../../../src/bench/plan.ts';

t.test('the quick plan is four variants and four workloads of the full one', async (t) => {
  t.equal(new Set(quick.variants).size, 4);
  t.equal(new Set(quick.workloads).size, 4);
  t.ok(quick.variants.every((name) => variantNames.includes(name)));
  t.ok(quick.workloads.every((name) => workloadNames.includes(name)));
});

t.test('what a variant cannot carry is no step', async (t) => {
  t.equal(stepsOf(quick), quick.rounds * 14, 'envoy-l7 carries two of four');
  const http = { ...full, rounds: 1, variants: ['bare', 'envoy-l7'] };
  for (const name of ['rtt64', 'neighbour', 'storm1000', 'memory']) {
    t.equal(stepsOf({ ...http, workloads: [name] }), 1, name);
  }
  t.equal(stepsOf({ ...http, workloads: ['syscalls'] }), 0);
  t.equal(stepsOf({ ...http, workloads: ['http64'] }), 2);
});

t.test('every measurement is a step', async (t) => {
  const one = { ...full, rounds: 1, variants: ['bare', 'weft', 'haproxy'] };
  t.equal(stepsOf({ ...one, workloads: ['rtt64', 'neighbour'] }), 6);
  t.equal(stepsOf({ ...one, workloads: ['syscalls'] }), 2);
  const tiers = { ...one, rounds: 2, variants: ['weft', 'weft-unbatched', 'weft-direct'] };
  t.equal(stepsOf({ ...tiers, workloads: ['storm1000', 'storm2000'] }), 8);
  t.equal(stepsOf({ ...one, workloads: ['memory'] }), 3);
  t.equal(stepsOf({ ...one, workloads: ['propagation'] }), 40);
  t.equal(stepsOf({ ...one, workloads: ['propagation'], variants: ['bare'] }), 0);
});
