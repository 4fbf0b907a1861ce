// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { goals, verdictsOn } from '../../../../src/bench/goals.ts';
import {
  feelsStorm,
  type StormSample,
  stormFigures,
  stormRows,
  stormShareMin,
  storms,
} from '../../../../src/bench/studies/storm.ts';
import { allVariants } from '../../../../src/bench/variants/all.ts';

const [, storm] = storms;
if (storm === undefined) {
  throw new Error('no storm');
}

function sample(variant: string, round: number, beside: number, reached: number): StormSample {
  const figures = { alone: 1000, beside, ratio: beside / 1000, reached };
  return { round, variant, storm: storm as (typeof storms)[number], figures };
}

const names = ['weft', 'envoy-l4'];

t.test('a row for each figure and variant, of the rounds of one storm', async (t) => {
  const samples = [
    sample('weft', 1, 1250, 2000),
    sample('envoy-l4', 1, 2500, 2000),
    sample('weft', 2, 1750, 1980),
  ];
  const rows = stormRows(storm, samples, names);
  t.equal(rows.length, 8);
  t.match(rows[2], {
    ...{ workload: storm.name, figure: stormFigures.beside, unit: 'us', variant: 'weft' },
    ...{ spread: { median: 1500, n: 2 }, ratios: { 'envoy-l4': { median: 0.5, n: 1 } } },
  });
  t.match(rows[4], { figure: stormFigures.ratio, unit: '', spread: { median: 1.5 } });
  t.match(rows[6], { figure: stormFigures.reached, unit: '/s', spread: { min: 1980 } });
  t.ok(rows.every(({ short }) => short === undefined));
  const other = storms.find((each) => each !== storm);
  t.strictSame(other && stormRows(other, samples, names), []);
});

t.test('a storm that did not reach its rate says so, and holds no goal', async (t) => {
  const enough = storm.rate * stormShareMin;
  const verdictAt = (reached: number): boolean | undefined => {
    const samples = [sample('weft', 1, 1000, 2000), sample('weft', 2, 1000, reached)];
    const rows = stormRows(storm, samples, names);
    t.strictSame(
      rows.map(({ short }) => short),
      reached < enough ? [undefined, 1, 1, 1] : [undefined, undefined, undefined, undefined],
    );
    return verdictsOn(rows)[0]?.ok;
  };
  t.equal(verdictAt(enough), true);
  t.equal(verdictAt(enough - 1), false);
});

t.test('its goal is that of the storm of 2,000, for the figure itself', async (t) => {
  const own = goals.filter(({ workload }) => storms.some(({ name }) => name === workload));
  t.match(own, [{ workload: 'storm2000', figure: stormFigures.ratio, atMost: 1.5 }]);
  t.strictSame(own[0]?.to, undefined);
});

t.test('who reads HTTP alone, or goes another way on one node only, feels none', async (t) => {
  const left = allVariants.filter((each) => !feelsStorm(each)).map(({ name }) => name);
  t.strictSame(left, ['weft-direct', 'envoy-l7']);
});
