// SPDX-License-Identifier: Apache-2.0
// The control plane is away, and the node proxies start without it; then it comes back.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { msUntil, passes } from '../../../src/lab/demo-policy.ts';
import { demo } from '../../../src/lab/demo-traffic.ts';
import type { Lab } from '../../../src/lab/lab.ts';
import { endOfLog, type LogRecord, readLog, waitForRecord } from '../../../src/lab/log-watch.ts';
import { typeOrder } from '../../../src/xds/wire.ts';
import { restartControl, skipLab, startLab } from '../../support/trust-lab.ts';

const proxy = 'node-a/ztunnel';
const typesAsked = typeOrder.length;

t.setTimeout(120_000);

/** Kills node A's proxy, does `between`, starts it again; says where its new log begins. */
async function reborn(
  lab: Lab,
  change: (command: readonly string[]) => readonly string[] = (command) => command,
  between: () => void = () => undefined,
): Promise<number> {
  await lab.kill(proxy);
  between();
  const from = endOfLog(lab.process(proxy).logFile);
  await lab.restart(proxy, change);
  return from;
}

async function said(lab: Lab, from: number, msg: string): Promise<LogRecord> {
  const { logFile } = lab.process(proxy);
  return await waitForRecord(logFile, from, (record) => record['msg'] === msg, msg, 10_000);
}

t.test(
  'proxies serve without the control plane, and follow it again',
  { skip: skipLab },
  async (t) => {
    const lab = await startLab(t, ['--log-level', 'debug']);
    t.ok(await passes(lab, demo.client));
    const file = join(lab.proxyState('node-a'), 'state.bin');
    await lab.stateSaved('node-a');
    await lab.kill('control');

    await t.test('a proxy comes back from saved state and keys', async (t) => {
      const from = await reborn(lab);
      await lab.ready('node-a');
      t.ok((await msUntil(lab, demo.client, true)) < 2_000);
      await said(lab, from, 'serving from saved state until the control plane answers');
      await said(lab, from, 'saved certificate in use');
      const { records } = readLog(lab.process(proxy).logFile, from);
      t.equal(records.filter(({ msg }) => msg === 'certificate issued').length, 0);
      t.equal(records.filter(({ msg }) => msg === 'xds update').length, 0);
    });

    await t.test('state that is too old is refused, and nothing is carried', async (t) => {
      const from = await reborn(lab, (command) => [...command, '--state-max-age', '1s']);
      t.match(await said(lab, from, 'saved state refused'), { reason: /s old, over 1 s/ });
      t.equal(await passes(lab, demo.client), false);
    });

    await t.test('state that was changed, or is of another node, is refused', async (t) => {
      const good = readFileSync(file);
      const flipped = Buffer.from(good);
      flipped.writeUInt8(flipped.readUInt8(flipped.length - 1) ^ 1, flipped.length - 1);
      const wrong = await reborn(lab, undefined, () => writeFileSync(file, flipped));
      t.match(await said(lab, wrong, 'saved state refused'), { reason: 'its hash is wrong' });
      const other = readFileSync(join(lab.proxyState('node-b'), 'state.bin'));
      const foreign = await reborn(lab, undefined, () => writeFileSync(file, other));
      t.match(await said(lab, foreign, 'saved state refused'), { reason: /state of node node-b/ });
      t.equal(await passes(lab, demo.client), false);
      await reborn(lab, undefined, () => writeFileSync(file, good));
      await lab.ready('node-a');
      t.ok((await msUntil(lab, demo.client, true)) < 2_000);
    });

    await t.test(
      'what has not changed is not sent again when the control plane is back',
      async (t) => {
        const from = endOfLog(lab.process(proxy).logFile);
        await restartControl(lab);
        const isUpdate = ({ msg }: LogRecord): boolean => msg === 'xds update';
        const { logFile } = lab.process(proxy);
        const updates = (): LogRecord[] => readLog(logFile, from).records.filter(isUpdate);
        const answered = new Set<string>();
        const isLast = (record: LogRecord): boolean => {
          return isUpdate(record) && answered.add(String(record['type'])).size === typesAsked;
        };
        await waitForRecord(logFile, from, isLast, 'an answer for each type', 40_000);
        t.strictSame(
          updates().map(({ changed, removed }) => [changed, removed]),
          Array.from({ length: typesAsked }, () => [0, 0]),
        );
        t.ok(await passes(lab, demo.client));
      },
    );
  },
);
