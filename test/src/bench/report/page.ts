// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { escaped, pageOf } from '../../../../src/bench/report/page.ts';
import type { ResultsFile } from '../../../../src/bench/results.ts';

const spread = { n: 2, median: 1234.5, min: 1000, max: 2000 };
const file: ResultsFile = {
  ...{ format: 1, date: '2026-01-02T03:04:05.000Z', rounds: 2, seconds: 1 },
  machine: { cpu: 'A <fast> one', cores: 2, memoryGb: 24, kernel: '6.1' },
  versions: { node: 'v26' },
  variants: [{ name: 'weft', title: 'the mesh' }],
  results: [
    {
      ...{ variant: 'weft', workload: 'rtt64', metric: 'p50', unit: 'us', ...spread },
      ...{
        disturbed: 1,
        failures: 3,
        ratioToBare: spread,
        ratios: {},
        rounds: { 1: 1000, 2: 2000 },
      },
    },
  ],
  notRun: [{ variant: 'haproxy', why: 'it is not installed' }],
  verdicts: [],
};

t.test('letters with a meaning in HTML are escaped', async (t) => {
  t.equal(escaped('a<b>&"c"'), 'a&#60;b&#62;&#38;&#34;c&#34;');
});

t.test('the page holds machine, figures and what was not run, and loads nothing', async (t) => {
  const page = pageOf({ file, charts: [{ title: 'A plot', svg: '<svg></svg>' }] });
  t.match(page, 'A &#60;fast&#62; one');
  t.match(page, '<td class="figure">1235 (1000..2000)</td>');
  t.match(page, 'disturbed: 1 of 2; failed and made again: 3');
  t.match(page, 'not run: it is not installed');
  t.match(page, '<figcaption>A plot</figcaption><svg></svg>');
  t.notMatch(page, /<(script|link|img)|https?:\/\//);
  t.notMatch(page, 'What changed');
});

t.test('goals stand with what was reached', async (t) => {
  t.notMatch(pageOf({ file, charts: [] }), 'Goals');
  const goal = { variant: 'weft', workload: 'rtt64', figure: 'p50', to: 'bare', spread };
  const verdicts = [
    { ...goal, atMost: 1.03, ok: false },
    { ...goal, atLeast: 0.9, ok: true },
  ];
  const page = pageOf({ file: { ...file, verdicts }, charts: [] });
  const cells = '<td>weft</td><td>rtt64</td><td>p50</td><td>bare</td>';
  const reached = '<td class="figure">1235 (1000..2000)</td>';
  t.match(page, `<tr><td>missed</td>${cells}<td>at most 1.03</td>${reached}</tr>`);
  t.match(page, `<tr><td>reached</td>${cells}<td>at least 0.9</td>${reached}</tr>`);
});

t.test('a comparison counts what is likely not chance', async (t) => {
  const change = { variant: 'weft', workload: 'rtt64', metric: 'p50', unit: 'us' };
  const numbers = { before: 50, after: 44, rose: 0, fell: 5 };
  const changes = [
    { ...change, ...numbers, probability: 0.0625 },
    { ...change, ...numbers, probability: 0.4 },
  ];
  const page = pageOf({ file, charts: [], older: { file, changes } });
  t.match(page, '1 of 2 figures changed with p of at most 0.1');
  t.match(page, '<td class="figure">0.063</td>');
});

t.test('says what ended a run early', async (t) => {
  t.notMatch(pageOf({ file, charts: [] }), 'It ended before');
  const page = pageOf({ file: { ...file, failure: 'no <lab>' }, charts: [] });
  t.match(page, 'It ended before all was measured: no &#60;lab&#62;');
});
