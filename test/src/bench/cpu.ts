// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { cgroupCpuSeconds, machineCpuOf, meter } from '../../../src/bench/cpu.ts';

function setUsage(folder: string, micros: number): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'cpu.stat'), `usage_usec ${micros}\nuser_usec 1\nsystem_usec 2\n`);
}

t.test('counts what kept the processors busy, and what the host took', async (t) => {
  const text = 'cpu  100 20 300 4000 50 6 70 8 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\nintr 5\n';
  t.strictSame(machineCpuOf(text), { busy: 4.96, steal: 0.08 });
});

t.test('reads the CPU time of a cgroup', async (t) => {
  const folder = t.testdir();
  setUsage(folder, 2_500_000);
  t.equal(cgroupCpuSeconds(folder), 2.5);
  writeFileSync(join(folder, 'cpu.stat'), 'nr_periods 0\n');
  t.throws(() => cgroupCpuSeconds(folder), { code: 'unsupported' });
  t.throws(() => cgroupCpuSeconds(join(folder, 'gone')), { code: 'ENOENT' });
});

function places(t: Test): { root: string; lab: string; proxies: string[]; apps: string[] } {
  const root = t.testdir();
  const at = (name: string): string => join(root, 'lab', name);
  return { root, lab: join(root, 'lab'), proxies: [at('a'), at('b')], apps: [at('app')] };
}

t.test('says who used how much between two readings', async (t) => {
  const { root, lab, proxies, apps } = places(t);
  for (const folder of [root, lab, ...proxies, ...apps]) {
    setUsage(folder, 1_000_000);
  }
  const end = meter({ root, lab, proxies, apps });
  setUsage(root, 9_000_000);
  setUsage(lab, 5_000_000);
  setUsage(proxies[0] ?? '', 1_500_000);
  setUsage(proxies[1] ?? '', 2_000_000);
  setUsage(apps[0] ?? '', 3_000_000);
  const usage = end();
  t.match(usage, { proxies: 1.5, apps: 2, strangers: 4 });
  t.ok(usage.wall > 0 && usage.wall < 10);
  t.ok(usage.path >= 0, 'never less than nothing');
});

t.test('a clock that ticks coarser than another makes no negative strangers', async (t) => {
  const { root, lab } = places(t);
  setUsage(root, 0);
  setUsage(lab, 0);
  const end = meter({ root, lab, proxies: [], apps: [] });
  setUsage(root, 1_000);
  setUsage(lab, 2_000);
  t.equal(end().strangers, 0);
});
