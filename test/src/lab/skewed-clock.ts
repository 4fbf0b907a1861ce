// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import t from 'tap';
import { skewedClock } from '../../../src/lab/skewed-clock.ts';

const skip = await skewedClock(0).then(
  () => false,
  () => 'needs libfaketime',
);

t.test(
  'a command sees a wrong clock, and is the very process that was started',
  { skip },
  async (t) => {
    for (const seconds of [-30, 30, 86_400]) {
      const [program = '', ...words] = await skewedClock(seconds);
      const script = 'console.log(JSON.stringify([Date.now(), process.pid]))';
      const { stdout, pid } = spawnSync(program, [...words, process.execPath, '-e', script], {
        encoding: 'utf8',
      });
      const [time, own] = JSON.parse(stdout);
      t.ok(Math.abs((time - Date.now()) / 1_000 - seconds) < 5, `${seconds} s`);
      t.equal(own, pid);
    }
  },
);
