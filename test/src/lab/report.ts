// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { type Row, reportOf, tableOf } from '../../../src/lab/report.ts';

const row = (change: Partial<Row> = {}): Row => ({
  name: 'water is wet',
  expected: 'wet',
  seen: 'wet',
  how: 'a finger',
  ok: true,
  ...change,
});

t.test('a report holds when every row does', async (t) => {
  t.equal(reportOf([row(), row()]).ok, true);
  t.equal(reportOf([row(), row({ ok: false })]).ok, false);
});

t.test('a report without rows does not hold', async (t) => {
  t.equal(reportOf([]).ok, false);
});

t.test('the table shows all columns and marks what failed', async (t) => {
  const table = tableOf(reportOf([row(), row({ name: 'fire is cold', seen: 'hot', ok: false })]));
  t.equal(
    table,
    [
      '      what          expected  seen  seen by',
      'ok    water is wet  wet       wet   a finger',
      'FAIL  fire is cold  wet       hot   a finger',
      '',
    ].join('\n'),
  );
});

t.test('long text is wrapped, and a long word is not cut', async (t) => {
  const word = 'x'.repeat(60);
  const lines = tableOf(reportOf([row({ seen: `one two ${word} three` })])).split('\n');
  t.equal(lines.length, 5);
  t.match(lines[2], word);
  t.ok(lines.every((line) => line === line.trimEnd()));
});
