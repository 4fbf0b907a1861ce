// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import type { Sample } from '../../../src/bench/rounds.ts';
import { summaryOf } from '../../../src/bench/summary.ts';
import { type Workload, workloads } from '../../../src/bench/workloads.ts';

function workload(name: string): Workload {
  const found = workloads.find((each) => each.name === name);
  if (found === undefined) {
    throw new Error(`no workload ${name}`);
  }
  return found;
}

function sample(name: string, variant: string, round: number, more: Partial<Sample>): Sample {
  const usage = { wall: 1, proxies: 0, path: 0, apps: 0, strangers: 0, steal: 0 };
  const base = {
    workload: name,
    variant,
    round,
    figures: {},
    usage,
    load1: 0,
    disturbed: false,
    failures: 0,
  };
  return { ...base, ...more };
}

const names = ['bare', 'weft', 'envoy-l4'];

t.test('what a proxy adds is taken from the bare figure of the same round', async (t) => {
  const samples = [
    [1, 60, 90, 110],
    [2, 80, 100, 120],
  ].flatMap(([round = 0, ...values]) =>
    names.map((name, at) => {
      const figures = { p50: values[at] ?? 0, p99: 200 };
      return sample('rtt64', name, round, { figures });
    }),
  );
  const rows = summaryOf(workload('rtt64'), samples, names);
  const added = rows.filter(({ figure }) => figure === 'added p50');
  t.match(added, [
    {
      variant: 'weft',
      spread: { median: 25 },
      rounds: { 1: 30, 2: 20 },
      ratios: { 'envoy-l4': { median: (30 / 50 + 20 / 40) / 2 } },
    },
    { variant: 'envoy-l4', spread: { median: 45 } },
  ]);
  t.strictSame(added[1]?.ratios, {}, 'the bare link adds nothing, and no variant is its own rival');
  t.match(
    rows.find(({ figure, variant }) => figure === 'p50' && variant === 'weft'),
    { ratios: { bare: { min: 1.25, max: 1.5 } }, unit: 'us' },
  );
});

t.test('CPU is given for each request, or each GB', async (t) => {
  const usage = { wall: 1, proxies: 0.5, path: 0.75, apps: 0, strangers: 0, steal: 0 };
  const one = (name: string, work: number): Sample =>
    sample(name, 'weft', 1, { figures: { rate: 1 }, usage, work, disturbed: true });
  const http = summaryOf(workload('http64'), [one('http64', 50_000)], names);
  t.match(http, [
    { figure: 'rate', disturbed: 1 },
    { figure: 'proxy CPU', unit: 'us/request', spread: { median: 10 } },
    { figure: 'path CPU', spread: { median: 15 } },
  ]);
  const bulk = summaryOf(workload('up1'), [one('up1', 2)], names);
  t.match(bulk[1], { figure: 'proxy CPU', unit: 's/GB', spread: { median: 0.25 } });
});

t.test('rounds that one side lacks are no part of a ratio', async (t) => {
  const samples = [
    sample('up1', 'weft', 1, { figures: { rate: 6 }, work: 1 }),
    sample('up1', 'weft', 2, { figures: { rate: 9 }, work: 1 }),
    sample('up1', 'envoy-l4', 2, { figures: { rate: 3 }, work: 1 }),
  ];
  const rows = summaryOf(workload('up1'), samples, names);
  const ratios = { 'envoy-l4': { n: 1, median: 3 } };
  t.match(rows[0], { variant: 'weft', spread: { n: 2 }, ratios });
  t.notOk(rows[0]?.ratios['bare']);
});

t.test('a tier is compared with the others of the same mesh', async (t) => {
  const tiers = ['bare', 'weft', 'weft-direct'];
  const samples = tiers.map((name, at) =>
    sample('local-crr32', name, 1, { figures: { rate: 2 ** at }, work: 1 }),
  );
  const rows = summaryOf(workload('local-crr32'), samples, tiers);
  const rates = rows.filter(({ figure }) => figure === 'rate');
  t.match(rates[2], { ratios: { bare: { median: 4 }, weft: { median: 2 } } });
  t.match(rates[1], { ratios: { bare: { median: 2 }, 'weft-direct': undefined } });
});

t.test('runs that failed before one did not are counted', async (t) => {
  const samples = [1, 2].map((round) =>
    sample('up1', 'weft', round, { figures: { rate: 6 }, work: 1, failures: round }),
  );
  samples.push(sample('up1', 'bare', 1, { figures: { rate: 6 }, work: 1 }));
  const rows = summaryOf(workload('up1'), samples, names);
  t.equal(rows.find(({ variant }) => variant === 'weft')?.failures, 3);
  t.equal(rows.find(({ variant }) => variant === 'bare')?.failures, undefined);
});
