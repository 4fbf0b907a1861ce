// SPDX-License-Identifier: Apache-2.0
// Runs a process under a clock that is wrong.
import { MeshError } from '../lib/error.ts';
import { runProgram } from '../lib/program.ts';

// Preloaded, not by its wrapper: that is another process, which a kill would take in place of the
// one that is meant. The loader puts in the machine's own folder for $LIB.
const library = '/usr/$LIB/faketime/libfaketime.so.1';

/**
 * The words that go before a command, for its clock to be `seconds` ahead, or behind when negative.
 * Timers are as always. Throws MeshError `unsupported` when it has no effect here.
 */
export async function skewedClock(seconds: number): Promise<string[]> {
  const skew = `FAKETIME=${seconds < 0 ? '-' : '+'}${Math.abs(seconds)}s`;
  const settings = ['FAKETIME_DONT_FAKE_MONOTONIC=1', 'FAKETIME_DISABLE_SHM=1'];
  const words = [`LD_PRELOAD=${library}`, skew, ...settings];
  const { stdout } = await runProgram('env', [...words, 'date', '+%s']);
  if (Math.abs(Number(stdout) - Date.now() / 1_000 - seconds) > 2) {
    throw new MeshError('unsupported', 'libfaketime is not installed');
  }
  return ['env', ...words];
}
