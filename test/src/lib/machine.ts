// SPDX-License-Identifier: Apache-2.0
import { existsSync, readFileSync } from 'node:fs';
import t from 'tap';
import {
  type Capability,
  cgroup2RootOf,
  cpuFlagsOf,
  describeMissing,
  kernelVersionOf,
  missingOf,
  probeMachine,
} from '../../../src/lib/machine.ts';

t.test('kernel releases of distributions are read', async (t) => {
  t.same(kernelVersionOf('6.1.0-13-amd64'), [6, 1]);
  t.same(kernelVersionOf('5.10.0'), [5, 10]);
  t.equal(kernelVersionOf('unknown'), undefined);
});

t.test('cgroup v2 is found where a hybrid machine mounts it', async (t) => {
  const mounts = [
    'cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0',
    'cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0',
  ];
  t.equal(cgroup2RootOf(mounts.join('\n')), '/sys/fs/cgroup/unified');
  t.equal(cgroup2RootOf(mounts[0] ?? ''), undefined);
});

t.test('processor flags are matched as whole words', async (t) => {
  const cpuinfo = 'processor\t: 0\nflags\t\t: fpu avx512f_x vaes\n';
  t.same(cpuFlagsOf(cpuinfo, ['avx512f', 'vaes']), ['vaes']);
  t.same(cpuFlagsOf('', ['vaes']), []);
});

t.test('only required rows count as missing, each with how to get it', async (t) => {
  const row = { name: 'veth', ok: false, seen: 'Operation not supported', how: 'modprobe veth' };
  const rows: Capability[] = [
    { ...row, required: true },
    { ...row, name: 'fast', required: false },
    { ...row, name: 'root', ok: true, required: true },
  ];
  t.same(missingOf(rows), [rows[0]]);
  t.equal(describeMissing(rows), 'missing: veth (Operation not supported); modprobe veth\n');
});

t.test('probing leaves no device and no cgroup behind, and every row says something', async (t) => {
  const rows = await probeMachine();
  t.notMatch(readFileSync('/proc/net/dev', 'utf8'), /weft[01]:/);
  const top = cgroup2RootOf(readFileSync('/proc/mounts', 'utf8'));
  t.equal(top !== undefined && existsSync(`${top}/weft-probe-${process.pid}`), false);
  t.equal(new Set(rows.map(({ name }) => name)).size, rows.length);
  t.same(
    rows.filter(({ how, seen }) => how === '' || seen === ''),
    [],
  );
});

t.test('a machine without the programs is told the packages', async (t) => {
  const path = process.env['PATH'];
  t.teardown(() => {
    process.env['PATH'] = path;
  });
  process.env['PATH'] = '/nonexistent';
  const rows = await probeMachine();
  const veth = rows.find(({ name }) => name === 'veth');
  t.match(veth, { ok: false, seen: /cannot run unshare/ });
});
