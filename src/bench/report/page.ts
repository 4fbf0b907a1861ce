// SPDX-License-Identifier: Apache-2.0
// One self-contained page of a file of results: plots, tables, and the comparison with an older one.
import { boundOf } from '../goals.ts';
import type { Result, ResultsFile } from '../results.ts';
import type { Chart } from './charts.ts';
import type { Change } from './compare.ts';

/** Text as it may stand in HTML. */
export function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);
}

const style = `
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 13px; }
th, td { padding: 2px 10px; text-align: left; border-bottom: 1px solid #ddd; }
td.figure { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { display: inline-block; margin: 1rem 2rem 1rem 0; }
figcaption { font-weight: 600; }
.none { color: #888; }
`;

function figure(value: number): string {
  return Math.abs(value) >= 1000 ? value.toFixed(0) : value.toPrecision(3);
}

type Range = Pick<Result, 'median' | 'min' | 'max'>;

function range(spread: Range | undefined): string {
  return spread === undefined
    ? ''
    : `${figure(spread.median)} (${figure(spread.min)}..${figure(spread.max)})`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = (tag: string, row: readonly string[]): string =>
    row
      .map(
        (cell) =>
          `<${tag}${/^-?[\d.]/.test(cell) ? ' class="figure"' : ''}>${escaped(cell)}</${tag}>`,
      )
      .join('');
  const body = rows.map((row) => `<tr>${cells('td', row)}</tr>`).join('\n');
  return `<table><thead><tr>${cells('th', head)}</tr></thead><tbody>\n${body}\n</tbody></table>`;
}

function flagsOf({ disturbed, failures = 0, short = 0, n }: Result): string {
  const all = [
    disturbed === 0 ? '' : `disturbed: ${disturbed} of ${n}`,
    failures === 0 ? '' : `failed and made again: ${failures}`,
    short === 0 ? '' : `the load fell short of its rate: ${short} of ${n}`,
  ];
  return all.filter(Boolean).join('; ');
}

function resultsTable({ results, notRun, variants }: ResultsFile): string {
  const rivals = variants
    .map(({ name }) => name)
    .filter((name) => results.some(({ ratios }) => name in ratios));
  const head = ['workload', 'metric', 'variant', 'median (min..max)', 'unit', 'to bare'];
  const rows = results.map((each) => [
    ...[each.workload, each.metric, each.variant, range(each), each.unit, range(each.ratioToBare)],
    ...rivals.map((name) => range(each.ratios[name])),
    flagsOf(each),
  ]);
  const empty = notRun.map(({ workload = 'all', variant, why }) => {
    return [workload, '', variant, `not run: ${why}`];
  });
  return table([...head, ...rivals.map((name) => `to ${name}`), ''], [...rows, ...empty]);
}

function goals({ verdicts }: ResultsFile): string {
  const head = ['', 'variant', 'workload', 'metric', 'as a ratio to', 'goal', 'reached'];
  const rows = verdicts.map((verdict) => {
    const { ok, variant, workload, figure: metric, to = '', spread } = verdict;
    const word = ok ? 'reached' : 'missed';
    return [word, variant, workload, metric, to, boundOf(verdict), range(spread)];
  });
  return rows.length === 0 ? '' : `<h2>Goals</h2>${table(head, rows)}`;
}

/** Changes beyond this are listed as likely not chance. */
export const chanceMax = 0.1;

function changesTable(changes: readonly Change[]): string {
  const head = ['variant', 'workload', 'metric', 'before', 'after', 'unit', 'rose', 'fell', 'p'];
  const rows = changes.map((each) => [
    ...[each.variant, each.workload, each.metric, figure(each.before), figure(each.after)],
    ...[each.unit, String(each.rose), String(each.fell), each.probability.toFixed(3)],
  ]);
  return table(head, rows);
}

function comparison(before: ResultsFile, changes: readonly Change[]): string {
  const likely = changes.filter(({ probability }) => probability <= chanceMax);
  const intro =
    `Against ${before.date}, by sign test over the rounds of both, as ratios to the bare link where there is ` +
    `one. ${likely.length} of ${changes.length} figures changed with p of at most ${chanceMax}; of so many figures ` +
    `about ${(changes.length * chanceMax).toFixed(0)} do by chance alone.`;
  return `<h2>What changed</h2><p>${escaped(intro)}</p>${changesTable(changes)}`;
}

function headOf(file: ResultsFile): string {
  const { date, machine, versions, rounds, seconds } = file;
  const { cpu, cores, memoryGb, kernel } = machine;
  const place = `${cpu}, ${cores} cores, ${memoryGb} GB, Linux ${kernel}`;
  const tools = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  const how = `${rounds} rounds of ${seconds} s for each measurement, variants interleaved within a round.`;
  const list = file.variants.map(
    ({ name, title }) => `<li><b>${escaped(name)}</b>: ${escaped(title)}</li>`,
  );
  const early =
    file.failure === undefined
      ? ''
      : `<p><b>${escaped(`It ended before all was measured: ${file.failure}`)}</b></p>`;
  return `<p>${escaped(`${date}; ${place}; ${tools.join(', ')}. ${how}`)}</p>${early}<ul>${list.join('')}</ul>`;
}

/** What a page is made of. */
export interface PageParts {
  readonly file: ResultsFile;
  readonly charts: readonly Chart[];
  /** An older file, and what changed since. */
  readonly older?: { readonly file: ResultsFile; readonly changes: readonly Change[] };
}

/** The page, with nothing to load from elsewhere. */
export function pageOf({ file, charts, older }: PageParts): string {
  const figures = charts.map(
    ({ title, svg }) => `<figure><figcaption>${escaped(title)}</figcaption>${svg}</figure>`,
  );
  const parts = [
    `<h1>weft bench</h1>${headOf(file)}`,
    goals(file),
    ...figures,
    older === undefined ? '' : comparison(older.file, older.changes),
    `<h2>All figures</h2>${resultsTable(file)}`,
  ];
  const meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">';
  return `<!doctype html><html lang="en"><head>${meta}<title>weft bench</title><style>${style}</style></head><body>
${parts.join('\n')}
</body></html>
`;
}
