// SPDX-License-Identifier: Apache-2.0
// An identity goes on the deny list while its tunnel is open.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { effectMsMax, identityOf, msUntil, passes } from '../../../src/lab/demo-policy.ts';
import { demo } from '../../../src/lab/demo-traffic.ts';
import type { Lab } from '../../../src/lab/lab.ts';
import { endOfLog, type LogRecord, readLog, waitForRecord } from '../../../src/lab/log-watch.ts';
import { retiredRenewalMs } from '../../../ztunnel/certs.ts';
import { skipLab, startLab } from '../../support/trust-lab.ts';

const program: string = new URL('../../../src/lab/hold.ts', import.meta.url).pathname;

t.setTimeout(60_000);

function listOf(field: 'identities' | 'serials', entry: string): string {
  return `apiVersion: weft.dev/v1alpha1
kind: DenyList
metadata: { name: lost }
spec:
  ${field}: ["${entry}"]
`;
}

/** The serial number of the newest leaf of an identity, from the control plane's log. */
function serialOf(lab: Lab, identity: string): string {
  const { records } = readLog(lab.process('control').logFile, 0);
  const issued = records.filter(
    ({ msg, spiffeId }) => msg === 'certificate issued' && spiffeId === identity,
  );
  return String(issued.at(-1)?.['serial']);
}

t.test('who is denied is cut and kept out, and nobody else', { skip: skipLab }, async (t) => {
  const lab = await startLab(t);
  const hold = async (name: string) => {
    const command = [process.execPath, program, demo.vip4, '80'];
    const { logFile } = await lab.startInPod(demo.client, name, command);
    const says = (msg: string) =>
      waitForRecord(logFile, 0, (record) => record['msg'] === msg, msg, 2 * effectMsMax);
    await says('held');
    return says;
  };
  const says = await hold('hold');
  t.ok(await passes(lab, demo.client));
  await lab.writeMesh('deny.yaml', listOf('identities', identityOf('client')));
  await t.resolves(says('ended'), 'the open connection is cut');
  t.ok((await msUntil(lab, demo.client, false)) < effectMsMax, 'new ones are refused');
  t.ok(await passes(lab, demo.intruder), 'another identity is not');
  rmSync(join(lab.meshFolder, 'deny.yaml'));
  t.ok((await msUntil(lab, demo.client, true)) < 2 * effectMsMax, 'off the list, it passes again');

  await t.test('a leaf that is denied is cut off, and replaced', async (t) => {
    const saysOfLeaf = await hold('hold-leaf');
    const serial = serialOf(lab, identityOf('client'));
    const { logFile } = lab.process('control');
    const from = endOfLog(logFile);
    await lab.writeMesh('deny.yaml', listOf('serials', serial));
    await t.resolves(saysOfLeaf('ended'), 'the open connection is cut');
    const isAnother = ({ msg, spiffeId, serial: fresh }: LogRecord): boolean =>
      msg === 'certificate issued' && spiffeId === identityOf('client') && fresh !== serial;
    const another = waitForRecord(logFile, from, isAnother, 'a leaf', retiredRenewalMs + 1_000);
    await t.resolves(another, 'the node asked for another');
    t.ok((await msUntil(lab, demo.client, true)) < 2 * effectMsMax, 'which is good');
  });
});
