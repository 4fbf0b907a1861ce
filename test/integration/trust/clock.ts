// SPDX-License-Identifier: Apache-2.0
// The clock of one node is half a minute off, this way and that, also when its certificates are new.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { msUntil } from '../../../src/lab/demo-policy.ts';
import { demo } from '../../../src/lab/demo-traffic.ts';
import { endOfLog, waitForRecord } from '../../../src/lab/log-watch.ts';
import { skewedClock } from '../../../src/lab/skewed-clock.ts';
import { skipLab, startLab } from '../../support/trust-lab.ts';

const skip = await skewedClock(30).then(
  () => skipLab,
  () => 'needs libfaketime',
);
const proxy = 'node-b/ztunnel';
const seconds = (text: unknown): number => Date.parse(String(text)) / 1_000;

t.setTimeout(90_000);

t.test('certificates are good although a clock is 30 s off', { skip }, async (t) => {
  const lab = await startLab(t);
  for (const skew of [-30, 30]) {
    const clock = await skewedClock(skew);
    await lab.kill(proxy);
    // Without its state and keys it asks for everything anew, under its own clock.
    rmSync(join(lab.proxyState('node-b'), 'state.bin'), { force: true });
    rmSync(lab.proxyKeys('node-b'), { recursive: true });
    const { logFile } = lab.process(proxy);
    const from = endOfLog(logFile);
    await lab.restart(proxy, (command) => [...clock, ...command]);
    await lab.ready('node-b');
    t.ok((await msUntil(lab, demo.client, true)) < 2_000, `traffic flows at ${skew} s`);
    const isIssued = (record: { msg?: unknown }): boolean => record.msg === 'certificate issued';
    const issued = await waitForRecord(logFile, from, isIssued, 'a certificate');
    // It was issued for a day by a clock that is right.
    const off = 86_400 - (seconds(issued['notAfter']) - seconds(issued['time']));
    t.ok(Math.abs(off - skew) < 10, `the clock was off: ${off} s`);
  }
});
