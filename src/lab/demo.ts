// SPDX-License-Identifier: Apache-2.0
// The demo: every row is measured on a running lab, and a row that cannot be measured fails.
import { MeshError } from '../lib/error.ts';
import { bulkRow, claimRow, identityRow, lateRow } from './demo-control.ts';
import { captureRow, deniedRow, directRow } from './demo-direct.ts';
import { nameRows } from './demo-names.ts';
import { cutRow, lockedRow, policyRow, strictRow } from './demo-policy.ts';
import { replaceRow } from './demo-replace.ts';
import { outageRow, rotationRow } from './demo-survival.ts';
import { captureOffRow, reachRows, recordUplink, wireRow } from './demo-traffic.ts';
import type { Lab } from './lab.ts';
import type { Row } from './report.ts';

type Step = readonly [name: string, run: () => Promise<Row>];

// What throws is a finding too.
async function measured([name, run]: Step): Promise<Row> {
  try {
    return await run();
  } catch (error) {
    const seen = MeshError.from(error).message;
    return { name, expected: 'a measurement', seen, how: 'it could not be taken', ok: false };
  }
}

/** Runs all rows in order and answers them; `onRow` is told each as it is known. */
export async function runDemo(lab: Lab, onRow: (row: Row) => void): Promise<Row[]> {
  // Before the first request, so that the tunnels' handshakes are on record.
  const recording = await recordUplink(lab, 'capture-on');
  const steps: Step[] = [
    ...reachRows(lab).map((run): Step => ['client reaches server', run]),
    ...nameRows(lab).map((run): Step => ['names', run]),
    ['pods are captured in the kernel', () => captureRow(lab)],
    ['only TLS 1.3 on 15008 crosses between pods', () => wireRow(lab, recording)],
    ["server side knows the client's SPIFFE ID", () => identityRow(lab)],
    ['a claim is logged as what it proves', () => claimRow(lab)],
    ['a denied identity is refused', () => policyRow(lab)],
    ['an open connection that policy turns against is cut', () => cutRow(lab)],
    ['a new namespace with a DENY and a pod in one change', () => lockedRow(lab)],
    ['STRICT and PERMISSIVE', () => strictRow(lab)],
    ['the proxies are replaced under load', () => replaceRow(lab)],
    ['pods of one node are connected past their proxy', () => directRow(lab)],
    ['a denied pod of the node is refused at connect', () => deniedRow(lab)],
    ['a pod comes and goes', () => lateRow(lab)],
    ['the control plane is killed', () => outageRow(lab)],
    ['the root is rotated under load', () => rotationRow(lab)],
    ['bulk each way is intact', () => bulkRow(lab)],
    ['with capture off the detector finds it all', () => captureOffRow(lab)],
  ];
  const rows: Row[] = [];
  for (const step of steps) {
    const row = await measured(step);
    rows.push(row);
    onRow(row);
  }
  return rows;
}
