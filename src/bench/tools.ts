// SPDX-License-Identifier: Apache-2.0
// The programs that loads are made by: Debian's, which the launcher installs, and one that is built.
import { MeshError } from '../lib/error.ts';
import { runProgram } from '../lib/program.ts';
import { ensureVegeta } from './vegeta.ts';

/** Throws MeshError `unsupported` when one of the programs is not installed. */
export async function needPrograms(programs: readonly string[]): Promise<void> {
  const found = await Promise.all(programs.map((name) => runProgram('which', [name])));
  const missing = programs.filter((_, index) => found[index]?.code !== 0);
  if (missing.length > 0) {
    const line = `apt-get install -y --no-install-recommends ${missing.join(' ')}`;
    throw new MeshError('unsupported', `load tools are missing: ./weft bench --yes, or  ${line}`);
  }
}

/** Builds vegeta if need be. Answers why it cannot be had, or nothing. */
export async function vegetaOrReason(
  progress: (text: string) => void,
): Promise<string | undefined> {
  try {
    await ensureVegeta(progress);
    return undefined;
  } catch (error) {
    return MeshError.from(error).message;
  }
}
