// SPDX-License-Identifier: Apache-2.0
// The runner as a whole: which files it runs, and what it ends with.
import { join } from 'node:path';
import t from 'tap';
import { root } from '../../scripts/steps.ts';
import { type ProgramResult, runProgram } from '../../src/lib/program.ts';

function run(...args: string[]): Promise<ProgramResult> {
  const script = join(root, 'scripts/test.ts');
  return runProgram(process.execPath, [script, ...args], { timeoutMs: 25_000 });
}

t.test('a run ends with the slowest parts, then the counts', async (t) => {
  const { code, stdout } = await run('test/scripts/build.ts', 'test/scripts/gen.ts');
  t.equal(code, 0, stdout);
  t.match(stdout, /^ +\d+\.\d s {2}test\/scripts\/build\.ts {2}6$/m);
  t.match(stdout, /\nthe slowest 2 of 2 parts:\n/);
  t.match(stdout, /\n[1-9]\d* passed, 0 failed\n$/);
});

t.test('a path that names no test is a failure, and not a run of nothing', async (t) => {
  const { code, stdout } = await run('test/scripts/nothing.ts');
  t.equal(code, 1);
  t.match(stdout, /failed: .*test\/scripts\/nothing\.ts names no test\n0 passed, 1 failed\n$/);
});
