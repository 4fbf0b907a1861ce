// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { goals, rival, verdictsOn } from '../../../src/bench/goals.ts';
import type { Row } from '../../../src/bench/summary.ts';

function row(workload: string, figure: string, ratio: number, variant = 'weft'): Row {
  const spread = { n: 1, median: ratio, min: ratio, max: ratio };
  return {
    workload,
    figure,
    variant,
    unit: '',
    spread,
    rounds: {},
    ratios: { [rival]: spread },
    disturbed: 0,
  };
}

t.test('a goal is reached at its bound and missed past it', async (t) => {
  for (const { workload, figure, atMost, atLeast } of goals) {
    const bound = atMost ?? atLeast ?? Number.NaN;
    const worse = atMost === undefined ? bound - 0.01 : bound + 0.01;
    t.match(verdictsOn([row(workload, figure, bound)], 'weft'), [{ ok: true, reached: bound }]);
    t.match(verdictsOn([row(workload, figure, worse)], 'weft'), [{ ok: false }]);
  }
});

t.test('there is no verdict on what was not measured, or on another variant', async (t) => {
  t.strictSame(verdictsOn([], 'weft'), []);
  t.strictSame(verdictsOn([row('rtt64', 'added p50', 0.5, 'bare')], 'weft'), []);
  const alone = { ...row('rtt64', 'added p50', 0.5), ratios: {} };
  t.strictSame(verdictsOn([alone], 'weft'), []);
});
