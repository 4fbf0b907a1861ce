// SPDX-License-Identifier: Apache-2.0
// The kernels as they are shipped: nothing in them may take its time, or an address, from a secret.
import { execFile } from 'node:child_process';
import { globSync } from 'node:fs';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { leaksIn } from '../../scripts/disassembly.ts';
import { root } from '../../scripts/steps.ts';

const run = promisify(execFile);
const outputMax = 256 << 20;
const skip = process.arch === 'x64' ? false : 'kernels are for x86-64 alone';

/** Kernels that handle nothing secret. */
const publicKernels = ['mb8_p256_verify_avx512.cc.o'];
/** What kernels are given secrets by, compiled for all processors. */
const besideKernels = ['nonce.cc.o', 'p256_range.cc.o'];
/** Functions that may do what the gate refuses, and why. */
const excused: readonly RegExp[] = [
  // The tables of the base points: the same for all, from nothing.
  /tableOfBase|fillWindows|computedTable/,
  // How far one inversion's fixed chain is, beside the other's, is kept in memory.
  /squareTimes.*FieldInversion/,
  // Counts of squarings in a fixed chain, each a constant, of which one loop follows another.
  /p2567inverse.*: sub +\$0x1,%eax; jne$/,
  // Whether a nonce is in range: one that is not is thrown away. And whether it is the first.
  /NonceGenerator4next.*: (test +%al,%al; jn?e|cmpb +\$0x0,0x40\(%r\w+\); jn?e)$/,
  // Whether the system has random bytes.
  /hedgedNonce.*: cmp +\$0x1,%e\w+; jn?e$/,
];

async function listingOf(file: string): Promise<string> {
  const args = ['--disassemble', '--reloc', '--no-show-raw-insn', file];
  return (await run('objdump', args, { maxBuffer: outputMax })).stdout;
}

t.test('nothing that is secret is branched, divided or gathered by', { skip }, async (t) => {
  const folder = join(root, 'build/native/CMakeFiles/core.dir/crypto');
  const kernels = globSync('*_avx512.cc.o', { cwd: folder }).sort();
  t.ok(kernels.length >= 4, `${folder} has the kernels: ${kernels.join(' ')}`);
  const secret = kernels.filter((each) => !publicKernels.includes(each));
  for (const object of [...secret, ...besideKernels]) {
    const leaks = leaksIn(await listingOf(join(folder, object)));
    const unexcused = leaks.filter((leak) => !excused.some((each) => each.test(leak)));
    t.same(unexcused, [], object);
  }
});

t.test('kernels lend no function to files for other processors', { skip }, async (t) => {
  for (const file of globSync('build/native/CMakeFiles/core.dir/crypto/*_avx512.cc.o', {
    cwd: root,
  })) {
    const { stdout } = await run('nm', ['--defined-only', join(root, file)]);
    // Those of headers that only kernels include are in namespaces of their own.
    const shared = stdout
      .split('\n')
      .filter((line) => / [WVu] (?!_ZN4weft6crypto(4p256|5order))/.test(line));
    t.same(shared, [], basename(file));
  }
});

t.test('each way to leak is found, and counting is none', { skip }, async (t) => {
  const object = join(t.testdir({}), 'leaky.o');
  const flags = '-std=c++20 -O3 -mavx512f -mavx512dq -mavx512bw -mavx512vl -mbmi2';
  const source = join(root, 'test/support/leaky_kernels.cc');
  await run('c++', [...flags.split(' '), '-c', source, '-o', object]);
  const leaks = leaksIn(await listingOf(object));
  const functions = new Set(leaks.map((leak) => leak.replace(/:.*/, '')));
  t.same([...functions].sort(), [
    'branchOnBit',
    'branchOnLane',
    'branchOnMask',
    'divides',
    'gathers',
    'jumpsByTable',
    'loopBySecret',
  ]);
});
