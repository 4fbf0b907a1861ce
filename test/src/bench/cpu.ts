// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  cgroupCpuSeconds,
  machineCpuOf,
  meter,
  processCpuOf,
  strangersCpuSeconds,
} from '../../../src/bench/cpu.ts';

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

function setProcess(proc: string, pid: number, flags: number, ticks: readonly number[]): void {
  mkdirSync(join(proc, String(pid)), { recursive: true });
  const fields = ['S', 1, 1, 1, 0, -1, flags, 9, 9, 9, 9, ...ticks, 20, 0, 1];
  writeFileSync(join(proc, String(pid), 'stat'), `${pid} (a (b) c) ${fields.join(' ')}\n`);
}

t.test('a process answers for its children, the kernel for nobody', async (t) => {
  const proc = t.testdir();
  setProcess(proc, 7, 0x0040_0000, [100, 20, 300, 4]);
  setProcess(proc, 8, 0x0020_8040, [500, 500, 0, 0]);
  setProcess(proc, 9, 0, [1000, 0, 0, 0]);
  setProcess(proc, process.pid, 0, [50, 50, 4000, 0]);
  mkdirSync(join(proc, 'net'));
  mkdirSync(join(proc, '10'));
  t.equal(processCpuOf(readFileSync(join(proc, '7/stat'), 'latin1')), 4.24);
  t.equal(
    strangersCpuSeconds(proc, (pid) => pid === 9),
    5.24,
  );
});

t.test('reads the processes of this machine', async (t) => {
  t.ok(strangersCpuSeconds('/proc', () => false) > 0);
});

function places(t: Test): { proc: string; lab: string; proxies: string[]; apps: string[] } {
  const root = t.testdir({ proc: {} });
  const at = (name: string): string => join(root, 'lab', name);
  const lab = join(root, 'lab');
  mkdirSync(lab);
  writeFileSync(join(lab, 'cgroup.procs'), '9\n');
  return { proc: join(root, 'proc'), lab, proxies: [at('a'), at('b')], apps: [at('app')] };
}

t.test('says who used how much between two readings', async (t) => {
  const { proc, lab, proxies, apps } = places(t);
  for (const folder of [...proxies, ...apps]) {
    setUsage(folder, 1_000_000);
    writeFileSync(join(folder, 'cgroup.procs'), '');
  }
  setProcess(proc, 7, 0, [0, 0, 0, 0]);
  const end = meter({ proc, lab, proxies, apps });
  setProcess(proc, 7, 0, [300, 0, 100, 0]);
  setProcess(proc, 9, 0, [900, 0, 0, 0]);
  setUsage(proxies[0] ?? '', 1_500_000);
  setUsage(proxies[1] ?? '', 2_000_000);
  setUsage(apps[0] ?? '', 3_000_000);
  const usage = end();
  t.match(usage, { proxies: 1.5, apps: 2, strangers: 4 });
  t.ok(usage.wall > 0 && usage.wall < 10);
  t.ok(usage.path >= 0, 'never less than nothing');
});

t.test('who has ended meanwhile makes no negative strangers', async (t) => {
  const { proc, lab } = places(t);
  setProcess(proc, 7, 0, [100, 0, 0, 0]);
  const end = meter({ proc, lab, proxies: [], apps: [] });
  rmSync(join(proc, '7'), { recursive: true });
  t.equal(end().strangers, 0);
});
