// SPDX-License-Identifier: Apache-2.0
import { globSync } from 'node:fs';
import { Command, Option } from 'commander';
import { type CaptureProbe, withParts } from '../cni/capture-probe.ts';
import { adviceOn } from '../lib/capture-tier.ts';
import { type Capability, missingOf, probeMachine } from '../lib/machine.ts';
import { socketPlaces } from './admin-client.ts';
import { probeFeatures, probeKernelCapture } from './capture-probe.ts';
import { captureStatus, captureStatusTable } from './capture-status.ts';
import { probeHandshakeCrypto } from './crypto-probe.ts';
import { probeSockmap } from './sockmap-probe.ts';

function mark(row: Capability): string {
  if (row.ok) {
    return 'yes';
  }
  return row.required ? 'NO' : 'no';
}

interface Line {
  readonly mark: string;
  readonly name: string;
  readonly seen: string;
  /** What follows in a line of its own; nothing when all is well. */
  readonly hint?: string;
}

function textOf(lines: readonly Line[]): string {
  const width = Math.max(...lines.map(({ name }) => name.length));
  return lines
    .map(({ mark: word, name, seen, hint }) => {
      const line = `${word.padEnd(5)}${name.padEnd(width)}  ${seen}\n`;
      return hint === undefined ? line : `${line}     ${' '.repeat(width)}  ${hint}\n`;
    })
    .join('');
}

/** The rows as a table for a person; a missing one is followed by how to get it. */
export function tableOf(rows: readonly Capability[]): string {
  return textOf(
    rows.map(({ name, seen, how, ...row }) => {
      const line = { mark: mark({ name, seen, how, ...row }), name, seen };
      return row.ok ? line : { ...line, hint: `get it: ${how}` };
    }),
  );
}

const hintOf = (result: 'no' | 'warn'): string => (result === 'no' ? 'get it' : 'see');

/** What capture in the kernel builds on, as a table for a person, and what follows from it. */
export function captureTable({ tier, reasons, features }: CaptureProbe): string {
  const lines = features.map(({ name, result, seen }) => {
    const { loses, how } = adviceOn(name);
    const line = { mark: result, name, seen };
    return result === 'yes' ? line : { ...line, hint: `${loses}; ${hintOf(result)}: ${how}` };
  });
  const because = reasons.map((reason) => `  because of ${reason}\n`).join('');
  return `${textOf(lines)}capture: ${tier}\n${because}`;
}

/** `weft check`: probes this machine. Exit code 3 when something required is missing. */
export async function main(
  argv: readonly string[],
  print: (text: string) => void = (text) => process.stdout.write(text),
): Promise<number> {
  const command = new Command('weft check')
    .description('Show what this machine can do for the mesh. Probes need root.')
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['table', 'json']))
    .exitOverride()
    .parse([...argv], { from: 'user' });
  const found = await probeFeatures();
  const agents = await captureStatus(globSync(socketPlaces as string[]).sort());
  const { row, parts } = await probeKernelCapture();
  const capture = found.tier === 'nftables' ? found : withParts(found, parts);
  const machine = await probeMachine();
  const rows = [...machine, await probeHandshakeCrypto(), row, await probeSockmap()];
  const ok = missingOf(rows).length === 0;
  const json = command.opts<{ output?: string }>().output === 'json';
  print(
    json
      ? `${JSON.stringify({ ok, rows, capture, agents })}\n`
      : `${tableOf(rows)}\n${captureTable(capture)}${captureStatusTable(agents)}`,
  );
  return ok ? 0 : 3;
}
