// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { type Goal, goals, verdictsOn } from '../../../src/bench/goals.ts';
import { workloadNames } from '../../../src/bench/plan.ts';
import type { Row } from '../../../src/bench/summary.ts';
import { allVariants, referencesOf } from '../../../src/bench/variants/all.ts';

function row({ workload, figure, variant, to }: Goal, ratio: number): Row {
  const spread = { n: 1, median: ratio, min: ratio, max: ratio };
  return {
    ...{ workload, figure, variant, unit: '', spread, rounds: {}, disturbed: 0 },
    ratios: to === undefined ? {} : { [to]: spread },
  };
}

t.test('a goal is reached at its bound and missed past it', async (t) => {
  for (const goal of goals) {
    const { atMost, atLeast } = goal;
    const bound = atMost ?? atLeast ?? Number.NaN;
    const worse = atMost === undefined ? bound - 0.01 : bound + 0.01;
    const verdictAt = (ratio: number): boolean | undefined =>
      verdictsOn([row(goal, ratio)]).find((each) => {
        return each.atMost === atMost && each.atLeast === atLeast && each.to === goal.to;
      })?.ok;
    t.equal(verdictAt(bound), true, `${goal.variant} ${goal.workload} ${goal.figure}`);
    t.equal(verdictAt(worse), false);
  }
});

t.test(
  'every goal is of a load that its variant has, and to whom it is compared with',
  async (t) => {
    for (const { variant, workload, to } of goals) {
      t.ok(allVariants.some(({ name }) => name === variant));
      t.ok(workloadNames.includes(workload), workload);
      t.ok(to === undefined || referencesOf(variant).includes(to), `${variant} to ${to}`);
    }
  },
);

t.test('a goal for the figure itself needs nobody to compare with', async (t) => {
  const goal = goals.find(({ to }) => to === undefined);
  t.ok(goal);
  if (goal !== undefined) {
    t.match(verdictsOn([{ ...row(goal, 1), ratios: { bare: row(goal, 9).spread } }]), [
      { ok: true, to: undefined, spread: { median: 1 } },
    ]);
  }
});

t.test('beside a load that fell short no goal is held', async (t) => {
  for (const goal of goals) {
    const { atMost, atLeast } = goal;
    const reached = row(goal, atMost ?? atLeast ?? Number.NaN);
    t.ok(verdictsOn([reached]).some(({ ok }) => ok));
    t.notOk(verdictsOn([{ ...reached, short: 1 }]).some(({ ok }) => ok));
  }
});

t.test('there is no verdict on what was not measured, or on another variant', async (t) => {
  const [goal] = goals;
  t.ok(goal);
  if (goal !== undefined) {
    t.strictSame(verdictsOn([]), []);
    t.strictSame(verdictsOn([row({ ...goal, variant: 'bare' }, 0.5)]), []);
    t.strictSame(verdictsOn([{ ...row(goal, 0.5), ratios: {} }]), []);
    t.strictSame(verdictsOn([row({ ...goal, to: 'haproxy' }, 0.5)]), []);
  }
});
