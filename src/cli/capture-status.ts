// SPDX-License-Identifier: Apache-2.0
// How nodes of this machine capture, as their agents say.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { CaptureProbe } from '../cni/capture-probe.ts';
import { MeshError } from '../lib/error.ts';
import { askJson } from './admin-client.ts';
import { tableOf } from './output.ts';

/** What an agent said of its node, or why it did not. */
export type CaptureAnswer = { readonly socket: string } & (
  | { readonly answer: CaptureProbe }
  | { readonly error: string }
);

/**
 * Where an agent's API may be, beside a proxy's admin socket: in the folder of that, or in the one
 * above.
 */
function apiBeside(adminSocket: string): string | undefined {
  const folder = dirname(adminSocket);
  return [folder, dirname(folder)].map((each) => join(each, 'cni.sock')).find(existsSync);
}

/** Asks the agents whose sockets lie beside these proxies' ones; a node without one is left out. */
export async function captureStatus(adminSockets: readonly string[]): Promise<CaptureAnswer[]> {
  const sockets = adminSockets.map(apiBeside).filter((each) => each !== undefined);
  return await Promise.all(
    sockets.map(async (socket) => {
      try {
        return { socket, answer: await askJson<CaptureProbe>(socket, '/capture') };
      } catch (error) {
        return { socket, error: MeshError.from(error).message };
      }
    }),
  );
}

/** A row for each agent; empty without any. */
export function captureStatusTable(answers: readonly CaptureAnswer[]): string {
  const rows = answers.map((each) =>
    'answer' in each
      ? [each.socket, each.answer.tier, each.answer.reasons.join('; ')]
      : [each.socket, '?', each.error],
  );
  return rows.length === 0
    ? ''
    : `\n${tableOf(['AGENT', 'CAPTURE', 'NO BETTER BECAUSE OF'], rows)}`;
}
