// SPDX-License-Identifier: Apache-2.0
// The plots of a page, as static SVG by Vega.
import { parse, View } from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';
import type { Result, ResultsFile } from '../results.ts';
import { paceOf } from '../workloads.ts';

/** A plot with what it shows. */
export interface Chart {
  readonly title: string;
  readonly svg: string;
}

interface Point {
  readonly variant: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

async function svgOf(spec: object): Promise<string> {
  const whole = { $schema: 'https://vega.github.io/schema/vega-lite/v6.json', ...spec };
  const view = new View(parse(compile(whole as TopLevelSpec).spec), { renderer: 'none' });
  return await view.toSVG();
}

const size = { width: 460, height: 240 };

function pointOf({ variant, median, min, max }: Result): Point {
  return { variant, median, min, max };
}

/** The same colour for a variant in every plot. */
function colorOf({ variants }: ResultsFile): object {
  const domain = variants.map(({ name }) => name);
  return { field: 'variant', type: 'nominal', title: null, scale: { domain } };
}

/** A line for each variant, with the range of its rounds. */
function lines(
  color: object,
  values: readonly (Point & { readonly x: number | string })[],
  x: object,
  y: object,
): object {
  return {
    ...size,
    data: { values },
    encoding: { x: { field: 'x', ...x }, color },
    layer: [
      { mark: { type: 'line', point: true }, encoding: { y: { field: 'median', ...y } } },
      {
        mark: { type: 'rule', opacity: 0.5 },
        encoding: { y: { field: 'min', ...y }, y2: { field: 'max' } },
      },
    ],
  };
}

/** A bar for each variant and group, with the range of its rounds. */
function bars(
  color: object,
  values: readonly (Point & { readonly group: string })[],
  title: string,
): object {
  const x = { field: 'group', type: 'nominal', sort: null, title: null, axis: { labelAngle: 0 } };
  const xOffset = { field: 'variant', sort: null };
  return {
    ...size,
    data: { values },
    encoding: { x, xOffset },
    layer: [
      { mark: 'bar', encoding: { y: { field: 'median', type: 'quantitative', title }, color } },
      {
        mark: { type: 'rule', color: 'black' },
        encoding: { y: { field: 'min', type: 'quantitative' }, y2: { field: 'max' } },
      },
    ],
  };
}

const rankOf = (metric: string): number | undefined => {
  const rank = /^p([\d.]+)$/.exec(metric)?.[1];
  return rank === undefined ? undefined : Number(rank);
};

function distribution(file: ResultsFile, workload: string): object | undefined {
  const values = file.results.flatMap((each) => {
    const rank = rankOf(each.metric);
    return each.workload === workload && rank !== undefined
      ? [{ ...pointOf(each), x: `p${rank}` }]
      : [];
  });
  const y = { type: 'quantitative', title: 'round trip, us', scale: { type: 'log' } };
  return values.length === 0
    ? undefined
    : lines(colorOf(file), values, { type: 'ordinal', sort: null, title: null }, y);
}

function againstRate(file: ResultsFile): object | undefined {
  const values = file.results.flatMap((each) => {
    const pace = paceOf(each.workload);
    return each.metric === 'p99' && pace?.connections === 16
      ? [{ ...pointOf(each), x: pace.rate }]
      : [];
  });
  const x = { type: 'quantitative', title: 'requests a second, 16 connections' };
  const y = { type: 'quantitative', title: 'p99, us', scale: { type: 'log' } };
  return new Set(values.map((each) => each.x)).size < 2
    ? undefined
    : lines(colorOf(file), values, x, y);
}

/** CPU of what `of` takes. Microseconds for one are milliseconds for a thousand. */
function cpu(
  file: ResultsFile,
  of: (workload: string) => boolean,
  what: string,
): object | undefined {
  const values = file.results
    .filter(({ metric, unit }) => metric === 'proxy CPU' && unit === 'us/request')
    .filter(({ workload }) => of(workload))
    .map((each) => ({ ...pointOf(each), group: each.workload }));
  const title = `CPU of all proxies, ms per 1000 ${what}`;
  return values.length === 0 ? undefined : bars(colorOf(file), values, title);
}

function memory(file: ResultsFile): object | undefined {
  const values = file.results
    .filter(({ workload, metric }) => workload === 'memory' && /each of connections/.test(metric))
    .map((each) => ({ ...pointOf(each), group: each.metric.replace('each of connections, ', '') }));
  return values.length === 0 ? undefined : bars(colorOf(file), values, 'KB an idle connection');
}

const connects = (workload: string): boolean => /^(crr|resumed|cached|cold)\d/.test(workload);

/** All plots that the file has figures for. */
export async function chartsOf(file: ResultsFile): Promise<Chart[]> {
  const specs: [string, object | undefined][] = [
    ['Round trip of 64 B, by percentile', distribution(file, 'rtt64')],
    ['Round trip of 64 B on one node, by percentile', distribution(file, 'local-rtt64')],
    ['HTTP at a constant rate: p99 against rate', againstRate(file)],
    ['Processor time of requests', cpu(file, (name) => !connects(name), 'requests')],
    ['Processor time of connections', cpu(file, connects, 'connections')],
    ['Memory of idle connections', memory(file)],
  ];
  const charts: Chart[] = [];
  for (const [title, spec] of specs) {
    if (spec !== undefined) {
      charts.push({ title, svg: await svgOf(spec) });
    }
  }
  return charts;
}
