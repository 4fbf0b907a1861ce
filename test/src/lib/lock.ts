// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { lockFolder } from '../../../src/lib/lock.ts';

t.test('gives a folder to one holder until it is released', async (t) => {
  const folder = t.testdir();
  const lock = await lockFolder(folder);
  t.equal(statSync(join(folder, 'lock')).mode & 0o777, 0o600);
  await t.rejects(lockFolder(folder), { code: 'conflict', message: /in use by process \d+/ });
  await lock.release();
  await (await lockFolder(folder)).release();
  t.same(readdirSync(folder), [], 'nothing is left behind');
});

t.test('takes over the lock of a process that ended', async (t) => {
  const child = spawn(process.execPath, ['-e', '0']);
  const { pid } = child;
  await once(child, 'exit');
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  for (const text of [`${pid} 1 ${boot}`, `${process.pid} 1 ${boot}`, 'junk', '']) {
    const folder = t.testdir();
    writeFileSync(join(folder, 'lock'), text);
    await (await lockFolder(folder)).release();
    t.same(readdirSync(folder), [], `was locked by ${JSON.stringify(text)}`);
  }
});

t.test('lets one of many that find a stale lock have it', async (t) => {
  const folder = t.testdir({ lock: '1 1 before-this-boot' });
  const results = await Promise.allSettled(Array.from({ length: 8 }, () => lockFolder(folder)));
  t.equal(results.filter(({ status }) => status === 'fulfilled').length, 1);
});

t.test('leaves a lock alone that another took over meanwhile', async (t) => {
  const folder = t.testdir();
  const lock = await lockFolder(folder);
  writeFileSync(join(folder, 'lock'), 'somebody else');
  await lock.release();
  t.equal(readFileSync(join(folder, 'lock'), 'utf8'), 'somebody else');
});
