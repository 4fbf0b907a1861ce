// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { chartsOf } from '../../../../src/bench/report/charts.ts';
import type { Result, ResultsFile } from '../../../../src/bench/results.ts';

function result(workload: string, metric: string, unit: string, median: number): Result[] {
  return ['weft', 'haproxy'].map((variant, at) => ({
    ...{ variant, workload, metric, unit, n: 3, median: median + at, min: median - 1 },
    ...{ max: median + 5, disturbed: 0, ratios: {}, rounds: {} },
  }));
}

function fileOf(results: Result[]): ResultsFile {
  return {
    ...{ format: 1, date: '', rounds: 3, seconds: 1, versions: {}, notRun: [], verdicts: [] },
    variants: ['bare', 'weft', 'haproxy'].map((name) => ({ name, title: name })),
    machine: { cpu: '', cores: 2, memoryGb: 1, kernel: '' },
    results,
  };
}

t.test('draws what there are figures for', async (t) => {
  const charts = await chartsOf(
    fileOf([
      ...['p50', 'p90', 'p99'].flatMap((rank, at) => result('rtt64', rank, 'us', 100 * (at + 1))),
      ...[1000, 4000].flatMap((rate) => result(`pace${rate}x16`, 'p99', 'us', rate)),
      ...result('http64', 'proxy CPU', 'us/request', 20),
      ...result('crr32', 'proxy CPU', 'us/request', 100),
      ...result('memory', 'node-a, each of connections, 1 to 1000', 'KB', 3),
    ]),
  );
  t.equal(charts.length, 5);
  for (const { title, svg } of charts) {
    t.match(svg, /^<svg/, title);
    for (const variant of ['weft', 'haproxy']) {
      t.match(svg, `>${variant}</text>`, `${title} names ${variant}`);
    }
  }
});

t.test('draws nothing without figures', async (t) => {
  t.strictSame(await chartsOf(fileOf([])), []);
});
