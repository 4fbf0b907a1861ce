// SPDX-License-Identifier: Apache-2.0
// The build's look at what the linker can lead away, on archives made for this.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { mustRun, runProgram } from '../../../src/lib/program.ts';

const seams = join(import.meta.dirname, '../../../native/cmake/seams.cmake');

/** An archive of one object "caller.o", of this C. */
async function archiveOf(folder: string, source: string): Promise<string> {
  const [file, object, archive] = ['caller.c', 'caller.o', 'lib.a'].map((each) =>
    join(folder, each),
  ) as [string, string, string];
  writeFileSync(file, source);
  await mustRun('cc', ['-O2', '-c', file, '-o', object]);
  await mustRun('ar', ['qc', archive, object]);
  return archive;
}

async function check(t: Test, source: string, call: string) {
  const folder = t.testdir({});
  const archive = await archiveOf(folder, source);
  const script = join(folder, 'check.cmake');
  writeFileSync(script, `include(${seams})\n${call.replace('ARCHIVE', archive)}\n`);
  return await runProgram('cmake', ['-DCMAKE_NM=nm', '-P', script]);
}

const calls = 'void callee(void);\nvoid caller(void) { callee(); }\n';
const callsItsOwn = `__attribute__((noinline)) void callee(void) { __asm__ volatile(""); }\n${calls}`;

t.test('a call from one object to another is a seam', async (t) => {
  const { code, stderr } = await check(t, calls, 'checkSeams(ARCHIVE caller.o:callee)');
  t.equal(code, 0, stderr);
});

t.test('a call within an object is none, and fails the build', async (t) => {
  const { code, stderr } = await check(t, callsItsOwn, 'checkSeams(ARCHIVE caller.o:callee)');
  t.not(code, 0);
  t.match(stderr.replaceAll(/\s+/g, ' '), /caller\.o of \S+ does not call callee by the linker/);
});

t.test('each of several is looked at, names in full', async (t) => {
  for (const other of ['other', 'call', 'callee2']) {
    const wanted = `checkSeams(ARCHIVE caller.o:callee caller.o:${other})`;
    t.match((await check(t, calls, wanted)).stderr, new RegExp(`call\\s+${other}\\s`), other);
  }
});

t.test('an object or an archive that is not there is said to be missing', async (t) => {
  const object = await check(t, calls, 'checkSeams(ARCHIVE gone.o:callee)');
  t.match(object.stderr, /has no gone\.o/);
  const archive = await check(t, calls, 'checkSeams(ARCHIVE.gone caller.o:callee)');
  t.match(archive.stderr, /cannot\s+read/);
});

t.test('what nobody may call is found where somebody does', async (t) => {
  const { code, stderr } = await check(t, calls, 'checkUncalled(ARCHIVE callee)');
  t.not(code, 0);
  t.match(stderr.replaceAll(/\s+/g, ' '), /caller\.o of \S+ calls callee/);
  t.equal((await check(t, calls, 'checkUncalled(ARCHIVE call other)')).code, 0);
  t.equal((await check(t, callsItsOwn, 'checkUncalled(ARCHIVE callee)')).code, 0);
});
