// SPDX-License-Identifier: Apache-2.0
// The rows about survival fail when it fails: by their own causes, which no YAML can break.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import t from 'tap';
import { outageRow, rotationRow } from '../../../src/lab/demo-survival.ts';
import type { Lab } from '../../../src/lab/lab.ts';
import { waitForRecord } from '../../../src/lab/log-watch.ts';
import { skipLab, startLab } from '../../support/trust-lab.ts';

const loadMsMax = 20_000;

t.setTimeout(180_000);
// Each has a lab of its own.
t.jobs = 2;
const side = { skip: skipLab, buffered: true, timeout: 150_000 };

t.test('an outage fails its row when saved state is not used', side, async (t) => {
  const lab = await startLab(t);
  const restart = lab.restart.bind(lab);
  lab.restart = (name, change) => {
    rmSync(join(lab.proxyState('node-b'), 'state.bin'), { force: true });
    return restart(name, change);
  };
  const row = await outageRow(lab).catch((error: Error) => ({ ok: false, seen: error.message }));
  t.equal(row.ok, false);
  t.notMatch(row.seen, 'back from saved state');
});

/** Waits until the load of the row asks. */
async function loadRuns(lab: Lab): Promise<void> {
  const until = Date.now() + loadMsMax;
  for (;;) {
    try {
      const { logFile, pid } = lab.process('pods/client/load');
      await waitForRecord(logFile, 0, (record) => record['ready'] === pid, 'load', loadMsMax);
      return;
    } catch (error) {
      if (Date.now() > until) {
        throw error;
      }
      await wait(20);
    }
  }
}

t.test('a rotation fails its row when a request fails meanwhile', side, async (t) => {
  const lab = await startLab(t);
  const rotating = rotationRow(lab);
  await loadRuns(lab);
  await lab.kill('node-a/ztunnel');
  await lab.restart('node-a/ztunnel');
  const row = await rotating;
  t.equal(row.ok, false);
  t.match(row.seen, /^[1-9]\d* of \d+ requests fail/);
});
