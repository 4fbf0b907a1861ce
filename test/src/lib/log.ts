// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { constants, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { createLog, type LogLevel, LogSink, sinkBytesMax } from '../../../src/lib/log.ts';

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

t.test('ready lines and log records stand in one order, whole, in a file', async (t) => {
  const file = join(t.testdir(), 'log');
  const fd = openSync(file, 'w');
  const sink = new LogSink(fd);
  const log = createLog('test', 'info', sink.destination);
  const encoder = new TextEncoder();
  for (let i = 0; i < 500; i += 1) {
    log.info({ i: 2 * i }, 'record');
    sink.write(encoder.encode(`{"i":${2 * i + 1}}\n`));
  }
  sink.flush();
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  t.same(
    lines.map((line) => JSON.parse(line).i),
    Array.from({ length: 1000 }, (_, i) => i),
  );
  t.equal(sink.dropped, 0);
});

t.test('a reader that is too slow costs lines, and the writer does not wait', async (t) => {
  const pipe = join(t.testdir(), 'pipe');
  execFileSync('mkfifo', [pipe]);
  const sink = new LogSink(openSync(pipe, constants.O_RDWR | constants.O_NONBLOCK));
  t.teardown(() => sink.destination.destroy());
  const line = new TextEncoder().encode(`${'x'.repeat((1 << 20) - 1)}\n`);
  for (let i = 0; i < sinkBytesMax / line.length; i += 1) {
    sink.write(line);
  }
  t.equal(sink.dropped, 0);
  for (let i = 0; i < 3; i += 1) {
    sink.write(line);
  }
  t.ok(sink.dropped >= 2, `${sink.dropped} writes were dropped`);
});
