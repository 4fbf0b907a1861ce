// SPDX-License-Identifier: Apache-2.0
// How nodes of this machine capture, as their agents say.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { CaptureProbe } from '../cni/capture-probe.ts';
import type { Setting, SettingsReport } from '../cni/settings.ts';
import { lostOf } from '../lib/capture-tier.ts';
import { MeshError } from '../lib/error.ts';
import { askJson } from './admin-client.ts';
import { tableOf } from './output.ts';

/** What an agent said of its node, or why it did not. */
export type CaptureAnswer = { readonly socket: string } & (
  | { readonly answer: CaptureProbe; readonly settings: SettingsReport }
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
        const [answer, settings] = await Promise.all([
          askJson<CaptureProbe>(socket, '/capture'),
          askJson<SettingsReport>(socket, '/settings'),
        ]);
        return { socket, answer, settings };
      } catch (error) {
        return { socket, error: MeshError.from(error).message };
      }
    }),
  );
}

function said({ value, from }: Setting<string>): string {
  return `${value} (${from})`;
}

// What is as it would be without anybody's word is not worth a line.
function settingRows(answer: CaptureAnswer): string[][] {
  if (!('answer' in answer)) {
    return [];
  }
  return answer.settings.pods
    .filter((pod) => [pod.capture, pod.sameNode, pod.bypass].some(({ from }) => from !== 'node'))
    .map(({ namespace, name, capture, sameNode, bypass }) => {
      return [`${namespace}/${name}`, said(capture), said(sameNode), said(bypass)];
    });
}

/** What is lost beside the tier, which has its own reasons. */
function lostBeside({ reasons, features }: CaptureProbe): string {
  return lostOf(features)
    .filter((each) => !reasons.includes(each))
    .join('; ');
}

/** A row for each agent, and one for each pod that is treated as somebody wants it; empty without any. */
export function captureStatusTable(answers: readonly CaptureAnswer[]): string {
  const rows = answers.map((each) =>
    'answer' in each
      ? [each.socket, each.answer.tier, lostBeside(each.answer), each.answer.reasons.join('; ')]
      : [each.socket, '?', '', each.error],
  );
  const tables: [string[], string[][]][] = [
    [['AGENT', 'CAPTURE', 'LOST', 'NO BETTER BECAUSE OF'], rows],
    [['POD', 'CAPTURE', 'SAME NODE', 'BYPASS'], answers.flatMap(settingRows)],
  ];
  return tables
    .filter(([, lines]) => lines.length > 0)
    .map(([head, lines]) => `\n${tableOf(head, lines)}`)
    .join('');
}
