// SPDX-License-Identifier: Apache-2.0
import { appendFileSync } from 'node:fs';
import t from 'tap';
import { endOfLog, readLog, waitForRecord } from '../../../src/lab/log-watch.ts';

t.test('whole JSON lines are read, and a line that is being written is not', async (t) => {
  const file = `${t.testdir({ log: '{"a":1}\nplain text\n{"a":2}\n{"a":' })}/log`;
  const { records, end } = readLog(file, 0);
  t.same(records, [{ a: 1 }, { a: 2 }]);
  appendFileSync(file, '3}\n');
  t.same(readLog(file, end).records, [{ a: 3 }]);
});

t.test('a record is found behind more than one piece of others', async (t) => {
  const line = `${JSON.stringify({ text: 'x'.repeat(1000) })}\n`;
  const file = `${t.testdir({ log: `${line.repeat(2500)}{"a":1}\n` })}/log`;
  const last = (record: { readonly [key: string]: unknown }): boolean => record['a'] === 1;
  t.same(await waitForRecord(file, 0, last, 'the last'), { a: 1 });
});

t.test('a record is found that was there, and one that comes later', async (t) => {
  const file = `${t.testdir({ log: '{"a":1}\n' })}/log`;
  const is = (value: number) => (record: { readonly [key: string]: unknown }) =>
    record['a'] === value;
  t.same(await waitForRecord(file, 0, is(1), 'one'), { a: 1 });
  const later = waitForRecord(file, endOfLog(file), is(2), 'two');
  appendFileSync(file, '{"a":1}\n{"a"');
  appendFileSync(file, ':2}\n');
  t.same(await later, { a: 2 });
  await t.rejects(waitForRecord(file, endOfLog(file), is(2), 'two', 1), {
    code: 'timeout',
    message: 'two',
  });
});
