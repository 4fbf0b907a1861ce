// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs';
import { Command } from 'commander';
import { version } from '../lib/version.ts';
import { type OutputForm, type Print, runCommand, toStdout, withOutputFlag } from './output.ts';

const addonFile = new URL('../../build/Release/weft.node', import.meta.url);

/** Names and versions, in the order they are printed. Loads the native engine when it is built. */
export async function versions(): Promise<Record<string, string>> {
  const own = { weft: version, node: process.versions.node };
  if (!existsSync(addonFile)) {
    return { ...own, engine: 'not built; run ./weft setup' };
  }
  const { nativeVersions } = await import('../../native/index.ts');
  return { ...own, ...nativeVersions() };
}

/** `weft version`. */
export async function main(argv: readonly string[], print: Print = toStdout): Promise<number> {
  const command = new Command('weft version').description(
    'Print the versions of Weft and of what is linked into it.',
  );
  withOutputFlag(command).action(async ({ output }: { output: OutputForm }) => {
    const all = await versions();
    const lines = Object.entries(all).map(([name, text]) => `${name.padEnd(10)} ${text}\n`);
    print(output === 'json' ? `${JSON.stringify(all)}\n` : lines.join(''));
  });
  return await runCommand(command, argv, () => 0);
}
