// SPDX-License-Identifier: Apache-2.0
import { Command, Option } from 'commander';
import { type Capability, missingOf, probeMachine } from '../lib/machine.ts';
import { probeKernelCapture } from './capture-probe.ts';
import { probeSockmap } from './sockmap-probe.ts';

function mark(row: Capability): string {
  if (row.ok) {
    return 'yes';
  }
  return row.required ? 'NO' : 'no';
}

/** The rows as a table for a person; a missing one is followed by how to get it. */
export function tableOf(rows: readonly Capability[]): string {
  const width = Math.max(...rows.map(({ name }) => name.length));
  return rows
    .map((row) => {
      const line = `${mark(row).padEnd(4)}${row.name.padEnd(width)}  ${row.seen}\n`;
      return row.ok ? line : `${line}    ${' '.repeat(width)}  get it: ${row.how}\n`;
    })
    .join('');
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
  const rows = [...(await probeMachine()), await probeKernelCapture(), await probeSockmap()];
  const ok = missingOf(rows).length === 0;
  const json = command.opts<{ output?: string }>().output === 'json';
  print(json ? `${JSON.stringify({ ok, rows })}\n` : tableOf(rows));
  return ok ? 0 : 3;
}
