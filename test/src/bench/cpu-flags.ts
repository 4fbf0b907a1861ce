// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { cpuFlagsIn } from '../../../src/bench/cpu-flags.ts';

t.test('flags of the first processor that arithmetic depends on are kept, sorted', async (t) => {
  const x86 = 'model name\t: X\nflags\t\t: fpu bmi2 avx512f sse2 avx512ifma adx\nflags\t\t: vaes\n';
  t.same(cpuFlagsIn(x86), ['adx', 'avx512f', 'avx512ifma', 'bmi2']);
  t.same(cpuFlagsIn('Features\t: fp asimd sha2 crc32\n'), ['asimd', 'sha2']);
  t.same(cpuFlagsIn(''), []);
});
