// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { createLog, type LogLevel } from '../../../src/lib/log.ts';

function logged(level: LogLevel, write: (log: ReturnType<typeof createLog>) => void) {
  const lines: string[] = [];
  write(createLog('test', level, { write: (line) => void lines.push(line) }));
  return lines.map((line) => JSON.parse(line));
}

t.test('writes one JSON object a line, with its level by name', async (t) => {
  const [record] = logged('info', (log) => log.info({ port: 1 }, 'ready'));
  t.match(record, { level: 'info', name: 'test', pid: process.pid, port: 1, msg: 'ready' });
  t.ok(Math.abs(Date.parse(record.time) - Date.now()) < 60_000);
});

t.test('leaves out what is under its level', async (t) => {
  t.equal(logged('warn', (log) => log.info('x')).length, 0);
  t.equal(logged('silent', (log) => log.fatal('x')).length, 0);
});

t.test('never writes a secret, nor one in an object of the record', async (t) => {
  for (const key of ['key', 'privateKey', 'token', 'joinToken', 'authorization', 'secret']) {
    const records = logged('info', (log) => log.info({ [key]: 'abc', deep: { [key]: 'abc' } }));
    t.notMatch(JSON.stringify(records), /abc/, key);
  }
});
