// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import t from 'tap';
import { captureTable, main, tableOf } from '../../../src/cli/check.ts';
import type { CaptureProbe } from '../../../src/cni/capture-probe.ts';
import { cgroup2RootOf } from '../../../src/lib/machine.ts';
import { runProgram } from '../../../src/lib/program.ts';
import { attachForeign } from '../../support/foreign-program.ts';
import { makeNetNamespace } from '../../support/net-namespace.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';
const row = { name: 'veth', ok: true, seen: 'works', required: true, how: 'modprobe veth' };
const launcher = new URL('../../../src/cli/main.ts', import.meta.url).pathname;
const without = new URL('../../support/without_bpf.py', import.meta.url).pathname;
const root = cgroup2RootOf(readFileSync('/proc/mounts', 'utf8')) ?? '';

interface Checked {
  readonly ok: boolean;
  readonly rows: readonly { readonly name: string; readonly ok: boolean }[];
  readonly capture: CaptureProbe;
}

/** What the verb says in a process that `command` starts. */
async function checkUnder(command: readonly string[]): Promise<Checked> {
  const [file = '', ...args] = [...command, process.execPath, launcher, 'check', '-o', 'json'];
  return JSON.parse((await runProgram(file, args, { timeoutMs: 60_000 })).stdout) as Checked;
}

const found = ({ capture }: Checked, name: string) =>
  capture.features.find((feature) => feature.name === name);

t.test('a row that is missing is followed by how to get it', async (t) => {
  t.equal(tableOf([row]), 'yes  veth  works\n');
  const missing = tableOf([{ ...row, ok: false, seen: 'refused' }]);
  t.match(missing, /^NO {3}veth {2}refused\n +get it: modprobe veth\n$/);
  t.match(tableOf([{ ...row, ok: false, required: false }]), /^no {3}veth/);
});

t.test('a feature that is missing is followed by what is lost, and the tier by why', async (t) => {
  const text = captureTable({
    tier: 'kernel',
    reasons: ['guard: passes'],
    features: [
      { name: 'btf', result: 'yes', seen: 'works' },
      { name: 'guard', result: 'no', seen: 'passes' },
    ],
  });
  t.match(text, /^yes {2}btf {4}works\nno {3}guard {2}passes\n +pods of one node have tunnels/);
  t.match(text, /; get it: .*\ncapture: kernel\n {2}because of guard: passes\n$/);
});

t.test('as JSON it is one object with the same verdict as the exit code', async (t) => {
  let printed = '';
  const code = await main(['-o', 'json'], (text) => {
    printed += text;
  });
  const { ok, rows, capture } = JSON.parse(printed) as Checked;
  t.equal(code, ok ? 0 : 3);
  t.equal(rows.length, 12);
  t.equal(new Set(capture.features.map(({ name }) => name)).size, 26);
  if (skip === false) {
    t.strictSame([capture.tier, capture.reasons], ['kernel-direct', []]);
  }
});

t.test('what this process may not, or what is not there', { skip }, async (t) => {
  await t.test('a capability that another stands for is named, and no more', async (t) => {
    const checked = await checkUnder(['setpriv', '--bounding-set', '-perfmon']);
    t.match(found(checked, 'capabilities'), { result: 'warn', seen: /^missing: CAP_PERFMON / });
    t.equal(checked.capture.tier, 'kernel-direct');
  });

  await t.test('one that nothing stands for leaves nftables, and is named', async (t) => {
    const checked = await checkUnder(['setpriv', '--bounding-set', '-net_admin']);
    t.match(found(checked, 'capabilities'), { result: 'no', seen: /^missing: CAP_NET_ADMIN / });
    t.equal(checked.capture.tier, 'nftables');
    t.match(checked.capture.reasons[0], /^capabilities: missing: CAP_NET_ADMIN/);
  });

  await t.test('a kernel without links leaves nftables', async (t) => {
    const checked = await checkUnder(['python3', without, '28']);
    t.equal(checked.capture.tier, 'nftables');
    t.match(checked.capture.reasons.join('\n'), /^link_cgroup: attach try_link_cgroup/m);
    t.match(found(checked, 'sock_destroy'), { result: 'yes' });
  });

  await t.test('an optional feature costs itself', async (t) => {
    const checked = await checkUnder(['python3', without, '33']);
    t.match(found(checked, 'iter_tcp'), { result: 'no', seen: /Operation not permitted/ });
    t.strictSame([checked.capture.tier, checked.capture.reasons], ['kernel-direct', []]);
  });

  await t.test('without cgroup v2 nftables captures', async (t) => {
    const take = `umount -l ${root} && exec "$@"`;
    const checked = await checkUnder(['unshare', '--mount', 'sh', '-c', take, 'sh']);
    t.match(found(checked, 'cgroup2'), { result: 'no', seen: /^cgroup v2 is not mounted/ });
    t.equal(checked.capture.tier, 'nftables');
    t.match(found(checked, 'sk_lookup'), { result: 'yes' });
  });

  await t.test('cgroup v2 may be mounted anywhere', async (t) => {
    const move = `umount -l ${root}; mount -t tmpfs none /mnt && mkdir /mnt/v2 &&
      mount -t cgroup2 none /mnt/v2 && exec "$@"`;
    const checked = await checkUnder(['unshare', '--mount', 'sh', '-c', move, 'sh']);
    t.match(found(checked, 'cgroup2'), { result: 'yes', seen: /^\/mnt\/v2 \(/ });
    t.equal(checked.capture.tier, 'kernel-direct');
  });

  await t.test('a kernel that is locked gives warning', async (t) => {
    const lock = `mount -t tmpfs none /sys/kernel/security &&
      echo "none integrity [confidentiality]" > /sys/kernel/security/lockdown && exec "$@"`;
    const checked = await checkUnder(['unshare', '--mount', 'sh', '-c', lock, 'sh']);
    t.match(found(checked, 'lockdown'), { result: 'warn', seen: 'confidentiality' });
    t.equal(checked.capture.tier, 'kernel-direct');
  });

  await t.test("somebody else's program is named, and no hindrance", async (t) => {
    const node = await makeNetNamespace();
    t.teardown(() => node.close());
    const foreign = await attachForeign('sk_lookup', node.path);
    const checked = await checkUnder(['nsenter', `--net=${node.path}`, '--']);
    await foreign.detach();
    const seen = 'stranger at sk_lookup of the network namespace';
    t.match(found(checked, 'foreign_programs'), { result: 'warn', seen });
    t.equal(checked.capture.tier, 'kernel-direct');
  });
});
