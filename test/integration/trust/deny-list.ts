// SPDX-License-Identifier: Apache-2.0
// An identity goes on the deny list while its tunnel is open.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { effectMsMax, identityOf, msUntil, passes } from '../../../src/lab/demo-policy.ts';
import { demo } from '../../../src/lab/demo-traffic.ts';
import { waitForRecord } from '../../../src/lab/log-watch.ts';
import { skipLab, startLab } from '../../support/trust-lab.ts';

const program: string = new URL('../../../src/lab/hold.ts', import.meta.url).pathname;

t.setTimeout(60_000);

function listOf(...identities: readonly string[]): string {
  return `apiVersion: weft.dev/v1alpha1
kind: DenyList
metadata: { name: lost }
spec:
  identities: [${identities.join(', ')}]
`;
}

t.test('who is denied is cut and kept out, and nobody else', { skip: skipLab }, async (t) => {
  const lab = await startLab(t);
  const held = await lab.startInPod(demo.client, 'hold', [
    process.execPath,
    program,
    demo.vip4,
    '80',
  ]);
  const says = (msg: string) =>
    waitForRecord(held.logFile, 0, (record) => record['msg'] === msg, msg, 2 * effectMsMax);
  await says('held');
  t.ok(await passes(lab, demo.client));
  await lab.writeMesh('deny.yaml', listOf(identityOf('client')));
  await t.resolves(says('ended'), 'the open connection is cut');
  t.ok((await msUntil(lab, demo.client, false)) < effectMsMax, 'new ones are refused');
  t.ok(await passes(lab, demo.intruder), 'another identity is not');
  rmSync(join(lab.meshFolder, 'deny.yaml'));
  t.ok((await msUntil(lab, demo.client, true)) < 2 * effectMsMax, 'off the list, it passes again');
});
