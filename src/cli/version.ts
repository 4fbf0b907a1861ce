// SPDX-License-Identifier: Apache-2.0
import { existsSync, readFileSync } from 'node:fs';
import { Command } from 'commander';

const packageFile = new URL('../../package.json', import.meta.url);
const addonFile = new URL('../../build/Release/weft.node', import.meta.url);

/** Names and versions, in the order they are printed. Loads the native engine when it is built. */
export async function versions(): Promise<Record<string, string>> {
  const { version } = JSON.parse(readFileSync(packageFile, 'utf8')) as { version: string };
  const own = { weft: version, node: process.versions.node };
  if (!existsSync(addonFile)) {
    return { ...own, engine: 'not built; run ./weft setup' };
  }
  const { nativeVersions } = await import('../../native/index.ts');
  return { ...own, ...nativeVersions() };
}

/** `weft version`. */
export async function main(argv: readonly string[]): Promise<number> {
  new Command('weft version')
    .description('Print the versions of Weft and of what is linked into it.')
    .exitOverride()
    .parse([...argv], { from: 'user' });
  for (const [name, version] of Object.entries(await versions())) {
    process.stdout.write(`${name.padEnd(10)} ${version}\n`);
  }
  return 0;
}
