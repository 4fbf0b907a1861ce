// SPDX-License-Identifier: Apache-2.0
// vegeta, the load tool that keeps a constant rate. It is built where Go is, from the module that
// bench/vegeta pins, and kept in the user's cache.
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { MeshError } from '../lib/error.ts';
import { runProgram } from '../lib/program.ts';

/** The version that go.sum pins. */
export const vegetaVersion = '12.8.4';

const module: string = join(import.meta.dirname, '../../bench/vegeta');
const buildTimeoutMs = 600_000;

/** Where the program is kept once it is built. */
export function vegetaPath(environment: NodeJS.ProcessEnv = process.env): string {
  const cache = environment['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
  return join(cache, 'weft', `vegeta-${vegetaVersion}`, 'vegeta');
}

/**
 * Builds vegeta if it is not there. Complete or absent: it appears by one rename. Throws MeshError
 * `unsupported` when it cannot be had on this machine.
 */
export async function ensureVegeta(progress: (text: string) => void): Promise<void> {
  const program = vegetaPath();
  if (existsSync(program)) {
    return;
  }
  progress(`building vegeta ${vegetaVersion}`);
  const folder = join(program, '..');
  mkdirSync(folder, { recursive: true });
  const work = mkdtempSync(`${folder}-`);
  try {
    const staged = join(work, 'vegeta');
    const source = 'github.com/tsenart/vegeta/v12';
    // A Go that is too old is no reason to fetch another.
    const args = ['GOTOOLCHAIN=local', 'go', 'build', '-C', module, '-mod=readonly', '-o', staged];
    const { code, stderr } = await runProgram('env', [...args, source], {
      timeoutMs: buildTimeoutMs,
    });
    if (code !== 0) {
      const said = stderr.trim().split('\n').slice(-3).join(' ');
      throw new MeshError('unsupported', `vegeta cannot be built, which takes Go: ${said}`);
    }
    renameSync(staged, program);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
