// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { cgroupMountsOf, lockdownOf, missingCapabilities } from '../../../src/lib/kernel-state.ts';

const status = (effective: bigint): string =>
  `Name:\tnode\nCapPrm:\t0000000000000000\nCapEff:\t${effective.toString(16).padStart(16, '0')}\n`;
const everything = (1n << 41n) - 1n;

t.test('capabilities that a process lacks are named', async (t) => {
  t.strictSame(missingCapabilities(status(everything)), []);
  const lacking = missingCapabilities(status(everything & ~(1n << 12n)));
  t.match(lacking, [{ name: 'CAP_NET_ADMIN', isCovered: false }]);
  t.equal(missingCapabilities('').length, 4, 'a process that says nothing has none');
});

t.test('one that a wider one stands for is told apart', async (t) => {
  const without = everything & ~(1n << 39n);
  t.match(missingCapabilities(status(without)), [{ name: 'CAP_BPF', isCovered: true }]);
  const both = missingCapabilities(status(without & ~(1n << 21n)));
  t.match(both, [
    { name: 'CAP_SYS_ADMIN', isCovered: false },
    { name: 'CAP_BPF', isCovered: false },
  ]);
});

t.test('lockdown is the word in brackets', async (t) => {
  t.equal(lockdownOf('none [integrity] confidentiality\n'), 'integrity');
  t.equal(lockdownOf(''), 'none');
});

t.test('cgroup v2 is found alone, beside version 1, or not', async (t) => {
  const unified = 'cgroup2 /sys/fs/cgroup cgroup2 rw 0 0';
  const legacy = 'cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0';
  const beside = 'cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0';
  t.strictSame(cgroupMountsOf(unified), { mode: 'unified', root: '/sys/fs/cgroup' });
  t.strictSame(cgroupMountsOf(`${legacy}\n${beside}\n`), {
    mode: 'hybrid',
    root: '/sys/fs/cgroup/unified',
  });
  t.strictSame(cgroupMountsOf(legacy), { mode: 'legacy' });
  t.strictSame(cgroupMountsOf(''), { mode: 'none' });
});
