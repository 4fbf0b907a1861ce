// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { cpuSecondsOf } from '../../../src/bench/cpu.ts';

t.test('sees the CPU time that this process used', async (t) => {
  const before = cpuSecondsOf(process.pid);
  const start = process.cpuUsage();
  let spent = 0;
  while (spent < 200_000) {
    const used = process.cpuUsage(start);
    spent = used.user + used.system;
  }
  const seen = cpuSecondsOf(process.pid) - before;
  t.ok(seen > 0.1 && seen < 10, `saw ${seen} s of at least 0.2 s`);
});

t.test('fails for a process that is not there', async (t) => {
  t.throws(() => cpuSecondsOf(2 ** 30), { code: 'ENOENT' });
});
