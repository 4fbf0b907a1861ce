// SPDX-License-Identifier: Apache-2.0
import type { Spread } from '../statistics.ts';
import type { HandshakeFigures, WayFigures } from './samples.ts';

const head = [
  'leaves',
  'at a time',
  'off',
  'scalar',
  'avx512',
  'scalar to avx512',
  'p99, avx512 to scalar',
  'lanes filled in the middle; operations in six or more',
];

const rangeOf = (spread: Spread | undefined, digits: number): string => {
  if (spread === undefined) {
    return '';
  }
  const [median, min, max] = [spread.median, spread.min, spread.max].map((value) =>
    value.toFixed(digits),
  );
  return `${median} (${min}..${max})`;
};

function fillingOf({ lanesFilled, inSixLanes }: WayFigures): string {
  return lanesFilled === undefined || inSixLanes === undefined
    ? ''
    : `${lanesFilled.median.toFixed(1)}, ${(100 * inSixLanes.median).toFixed(0)} %`;
}

const row = (way: WayFigures): string[] => [
  ...[way.leaves === 'known' ? 'known before' : 'each verified', String(way.atOnce)],
  ...['off', 'scalar', 'avx512'].map((mode) => rangeOf(way.micros[mode], 0)),
  ...[rangeOf(way.gain, 2), rangeOf(way.p99Ratio, 2), fillingOf(way)],
];

/** The figures as a table of Markdown, a row for each way, and a line about OpenSSL. */
export function handshakeTable({ ways, openssl }: HandshakeFigures): string {
  const lines = [head, head.map(() => '---'), ...ways.map(row)];
  const table = lines.map((cells) => `| ${cells.join(' | ')} |\n`).join('');
  if (openssl === undefined) {
    return table;
  }
  const { library, micros, toEight } = openssl;
  const ratio =
    toEight === undefined ? '' : `, ${rangeOf(toEight, 2)} times eight at a time in lanes`;
  return `${table}\n${library}: ${rangeOf(micros, 0)} us${ratio}\n`;
}
