// SPDX-License-Identifier: Apache-2.0
// What a machine can, told to processes from which something was taken. Needs root.
import { readFileSync } from 'node:fs';
import t from 'tap';
import type { CaptureProbe } from '../../../src/cni/capture-probe.ts';
import { cgroup2RootOf } from '../../../src/lib/machine.ts';
import { mustRun } from '../../../src/lib/program.ts';
import { attachForeign } from '../../support/foreign-program.ts';
import { makeNetNamespace } from '../../support/net-namespace.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';
const module = new URL('../../../src/cli/capture-probe.ts', import.meta.url).pathname;
const without = new URL('../../support/without_bpf.py', import.meta.url).pathname;
const root = cgroup2RootOf(readFileSync('/proc/mounts', 'utf8')) ?? '';
const program = `const { probeFeatures } = await import(${JSON.stringify(module)});
  process.stdout.write(JSON.stringify(await probeFeatures()));`;

/** What a process finds that `command` starts. */
async function probeUnder(command: readonly string[]): Promise<CaptureProbe> {
  const self = [process.execPath, '--input-type=module', '-e', program];
  const [file = '', ...args] = [...command, ...self];
  return JSON.parse(await mustRun(file, args, { timeoutMs: 60_000 })) as CaptureProbe;
}

const found = ({ features }: CaptureProbe, name: string) =>
  features.find((feature) => feature.name === name);

t.test('what this process may not, or what is not there', { skip }, async (t) => {
  await t.test('a capability that another stands for is named, and no more', async (t) => {
    const checked = await probeUnder(['setpriv', '--bounding-set', '-perfmon']);
    t.match(found(checked, 'capabilities'), {
      result: 'yes',
      seen: /^CAP_SYS_ADMIN serves for what is missing: CAP_PERFMON /,
    });
    t.strictSame([checked.tier, checked.reasons], ['kernel-direct', []]);
  });

  await t.test('one that nothing stands for leaves nftables, and is named', async (t) => {
    const checked = await probeUnder(['setpriv', '--bounding-set', '-net_admin']);
    t.match(found(checked, 'capabilities'), { result: 'no', seen: /^missing: CAP_NET_ADMIN / });
    t.equal(checked.tier, 'nftables');
    t.match(checked.reasons[0], /^capabilities: missing: CAP_NET_ADMIN/);
  });

  await t.test('a kernel without links leaves nftables', async (t) => {
    const checked = await probeUnder(['python3', without, '28']);
    t.equal(checked.tier, 'nftables');
    t.match(checked.reasons.join('\n'), /^link_cgroup: attach try_link_cgroup/m);
    t.match(found(checked, 'sock_destroy'), { result: 'yes' });
  });

  await t.test('an optional feature costs itself', async (t) => {
    const checked = await probeUnder(['python3', without, '33']);
    t.match(found(checked, 'iter_tcp'), { result: 'no', seen: /Operation not permitted/ });
    t.strictSame([checked.tier, checked.reasons], ['kernel-direct', []]);
  });

  await t.test('without cgroup v2 nftables captures', async (t) => {
    const take = `umount -l ${root} && exec "$@"`;
    const checked = await probeUnder(['unshare', '--mount', 'sh', '-c', take, 'sh']);
    t.match(found(checked, 'cgroup2'), { result: 'no', seen: /^cgroup v2 is not mounted/ });
    t.equal(checked.tier, 'nftables');
    t.match(found(checked, 'sk_lookup'), { result: 'yes' });
  });

  await t.test('cgroup v2 may be mounted anywhere', async (t) => {
    const move = `umount -l ${root}; mount -t tmpfs none /mnt && mkdir /mnt/v2 &&
      mount -t cgroup2 none /mnt/v2 && exec "$@"`;
    const checked = await probeUnder(['unshare', '--mount', 'sh', '-c', move, 'sh']);
    t.match(found(checked, 'cgroup2'), { result: 'yes', seen: /^\/mnt\/v2 \(/ });
    t.strictSame([checked.tier, checked.reasons], ['kernel-direct', []]);
  });

  await t.test('a kernel that is locked gives warning', async (t) => {
    const lock = `mount -t tmpfs none /sys/kernel/security &&
      echo "none integrity [confidentiality]" > /sys/kernel/security/lockdown && exec "$@"`;
    const checked = await probeUnder(['unshare', '--mount', 'sh', '-c', lock, 'sh']);
    t.match(found(checked, 'lockdown'), { result: 'warn', seen: 'confidentiality' });
    t.strictSame([checked.tier, checked.reasons], ['kernel-direct', []]);
  });

  await t.test('rules of others on the node are seen by the guard', async (t) => {
    const node = await makeNetNamespace();
    t.teardown(() => node.close());
    const inside = [`--net=${node.path}`, '--'];
    const wall = `table inet wall { chain everything {
      type filter hook prerouting priority -400; ip saddr 192.0.2.0/24 drop; }; }`;
    await mustRun('nsenter', [...inside, 'nft', '-f', '-'], { input: wall });
    const rules = () => mustRun('nsenter', [...inside, 'nft', 'list', 'ruleset']);
    const before = await rules();
    const checked = await probeUnder(['nsenter', ...inside]);
    t.match(found(checked, 'guard'), { result: 'no', seen: /^IPv4 does not come over a cable/ });
    t.equal(checked.tier, 'kernel');
    t.equal(await rules(), before);
  });

  await t.test("somebody else's program is named, and no hindrance", async (t) => {
    const node = await makeNetNamespace();
    t.teardown(() => node.close());
    const foreign = await attachForeign('sk_lookup', node.path);
    const checked = await probeUnder(['nsenter', `--net=${node.path}`, '--']);
    await foreign.detach();
    const seen = 'stranger at sk_lookup of the network namespace';
    t.match(found(checked, 'foreign_programs'), { result: 'warn', seen });
    t.strictSame([checked.tier, checked.reasons], ['kernel-direct', []]);
  });
});
