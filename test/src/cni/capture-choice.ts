// SPDX-License-Identifier: Apache-2.0
// Which way of capture a machine gets: this one, and one that something was taken from. Runs itself
// in a namespace that is the node. Needs root.
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { NodeCapture } from '../../../native/capture.ts';
import { type CaptureChoice, chooseCapture } from '../../../src/cni/capture-choice.ts';
import { captureMetrics } from '../../../src/cni/capture-metrics.ts';
import { guardTable } from '../../../src/cni/guard.ts';
import { lostOf } from '../../../src/lib/capture-tier.ts';
import type { Logger } from '../../../src/lib/log.ts';
import { cgroup2RootOf } from '../../../src/lib/machine.ts';
import { mustRun } from '../../../src/lib/program.ts';
import { makeNetNamespace } from '../../support/net-namespace.ts';
import { refusal, refusingKernel } from '../../support/refusing-kernel.ts';
import { lackingHere } from '../../support/this-kernel.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';
const node = process.env['WEFT_TEST_NODE'] ?? '';
const without = new URL('../../support/without_bpf.py', import.meta.url).pathname;

interface Line {
  readonly level: string;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly text: string;
}

function logTo(lines: Line[]): Logger {
  const at = (level: string) => (fields: Line['fields'], text: string) => {
    lines.push({ level, fields, text });
  };
  return { info: at('info'), warn: at('warn') } as unknown as Logger;
}

if (node === '') {
  const self = ['unshare', '--net', process.execPath, import.meta.filename];
  const run = (
    name: string,
    [file = '', ...args]: readonly string[],
    more: Readonly<Record<string, string>> = {},
  ): void => {
    t.spawn(file, args, { env: { ...process.env, ...more, WEFT_TEST_NODE: name }, skip }, name);
  };
  const refusing = await refusingKernel(t);
  run('a machine that can all of it', self);
  run('one without links', ['python3', without, '28', ...self]);
  run('one without iterators', ['python3', without, '33', ...self]);
  run('one that refuses DNS', self, refusing({ programs: ['weft_recvmsg4'] }));
  run('one that refuses direct connections', self, refusing({ maps: ['weft_directs'] }));
  run('one without hooks for datagrams', self, refusing({ programs: ['try_sendmsg6'] }));
} else {
  const top = join(
    cgroup2RootOf(readFileSync('/proc/mounts', 'utf8')) ?? '',
    `weft-choice-${process.pid}`,
  );
  const proxyCgroup = join(top, 'proxy');
  const pins = mkdtempSync(join(tmpdir(), 'weft-pins-'));
  mkdirSync(proxyCgroup, { recursive: true });
  t.teardown(() => {
    NodeCapture.uninstall(pins);
    rmSync(pins, { recursive: true, force: true });
    rmdirSync(proxyCgroup);
    rmdirSync(top);
  });
  const choice: CaptureChoice = {
    ...{ mode: 'auto', proxyCgroup, pins, podsCgroup: top, sameNode: 'direct' },
    ...{ whenProxyDown: 'refuse', bypass: 'none' },
  };
  const lines: Line[] = [];
  const chosen = (change: Partial<CaptureChoice> = {}) => {
    lines.length = 0;
    return chooseCapture({ ...choice, ...change }, logTo(lines));
  };
  const pod = await makeNetNamespace();
  t.teardown(() => pod.close());
  await mustRun('nsenter', [`--net=${pod.path}`, 'ip', 'link', 'set', 'lo', 'up']);
  const rulesOfPod = () => mustRun('nsenter', [`--net=${pod.path}`, 'nft', 'list', 'ruleset']);

  await t.test('what was asked for by name is not tried first', async (t) => {
    const { report } = await chosen({ mode: 'nft' });
    const reasons = ['nftables was asked for'];
    t.strictSame(report, { tier: 'nftables', reasons, features: [] });
  });

  if (node === 'one without links') {
    await t.test('nftables captures, and says why', async (t) => {
      const { capture, report } = await chosen();
      t.equal(report.tier, 'nftables');
      t.match(report.reasons, [/link_cgroup: attach try_link_cgroup/]);
      const fields = { tier: 'nftables', reason: /link_cgroup/ };
      t.match(lines.at(-1), { level: 'warn', text: 'no capture in the kernel', fields });
      const told = lines.find(({ fields: { feature } }) => feature === 'link_cgroup');
      t.match(told, {
        level: 'warn',
        fields: { result: 'no', loses: 'nftables captures', how: /5\.7/ },
      });
      await capture.install(pod.path);
      t.match(await rulesOfPod(), /redirect to :15001/);
      await t.rejects(capture.install(pod.path, { capture: 'ebpf' }), {
        code: 'unsupported',
        message: /no capture in the kernel here: .*link_cgroup/,
      });
      await capture.remove(pod.path);
      t.equal(await rulesOfPod(), '');
    });

    await t.test('and when programs are asked for by name it is an error', async (t) => {
      await t.rejects(chosen({ mode: 'ebpf' }), { code: 'unsupported', message: /link_cgroup/ });
    });
  } else if (node === 'one that refuses direct connections') {
    await t.test('programs capture, pods have tunnels, and it says why', async (t) => {
      const { capture, report } = await chosen();
      t.match(report, { tier: 'kernel', reasons: [/^direct: weft_sockops: invalid bpf_context/] });
      const told = lines.find(({ fields: { feature } }) => feature === 'direct');
      t.match(told, {
        level: 'warn',
        text: 'not taken by this kernel',
        fields: { loses: /have tunnels/, verifier: [/R1=ctx/, /weft_sockops/, /r0 =/, refusal] },
      });
      const tunnels = lines.find(({ text }) => text.startsWith('pods of this node have tunnels'));
      t.match(tunnels, { level: 'warn', fields: { reasons: [/^direct:/] } });
      t.match(lines.at(-1), { text: 'capture', fields: { tier: 'kernel', pins } });
      t.match(captureMetrics(report), 'weft_capture_feature{feature="direct",result="no"} 1');
      await capture.install(pod.path);
      t.equal(await rulesOfPod(), '');
      const tables = () => mustRun('nft', ['list', 'tables']);
      t.match(await tables(), guardTable, 'it was tried before the programs');
      await capture.retain([]);
      t.notMatch(await tables(), guardTable, 'and keeps nobody then');
      await capture.remove(pod.path);
    });
  } else if (node === 'one that refuses DNS' || node === 'one without hooks for datagrams') {
    await t.test('programs capture all but DNS, and it says so', async (t) => {
      const { capture, report } = await chosen();
      t.match(report, { tier: 'kernel-direct', reasons: [] });
      const isTried = node === 'one that refuses DNS';
      const why = isTried
        ? /^dns: weft_recvmsg4: invalid bpf_context/
        : /^dns: its hooks do not work/;
      t.match(lostOf(report.features), [why]);
      const told = lines.find(({ fields: { feature } }) => feature === 'dns');
      t.match(told, { level: 'warn', fields: { loses: /resolvers of pods/ } });
      t.match(captureMetrics(report), 'weft_capture_feature{feature="dns",result="no"} 1');
      await capture.install(pod.path);
      t.equal(await rulesOfPod(), '');
      await capture.remove(pod.path);
    });
  } else {
    const hasIterators = node !== 'one without iterators';
    const lost = hasIterators ? [...(await lackingHere()).keys()] : ['iter_tcp', 'iter_sockmap'];
    await t.test('programs capture, and pods are connected directly', async (t) => {
      const { capture, report } = await chosen();
      t.match(report, { tier: 'kernel-direct', reasons: [] });
      const results = Object.fromEntries(report.features.map(({ name, result }) => [name, result]));
      t.strictSame(results['iter_tcp'], hasIterators ? 'yes' : 'no');
      const { direct, services, dns, own_name, ...tried } = results;
      t.match(lines[0], { level: 'info', fields: { features: tried } });
      t.strictSame(new Set([direct, services, dns, own_name]), new Set(['yes']));
      t.strictSame(
        lines.flatMap(({ fields: { feature } }) => (feature === undefined ? [] : [feature])),
        lost,
        'what is missing is told, and nothing else',
      );
      t.match(lines.at(-1), { text: 'capture', fields: { tier: 'kernel-direct', pins } });
      await capture.install(pod.path);
      t.equal(await rulesOfPod(), '');
      await capture.remove(pod.path);
    });

    await t.test('on a node that asks for tunnels they are not', async (t) => {
      const { capture, report } = await chosen({ sameNode: 'tunnel' });
      t.match(report, { tier: 'kernel', reasons: ['guard: was not asked for'] });
      t.notOk(lines.some(({ text }) => text.startsWith('pods of this node have tunnels')));
      const tables = () => mustRun('nft', ['list', 'tables']);
      t.match(await tables(), guardTable, 'a guard of before stays while pods may need it');
      await capture.retain([]);
      t.notMatch(await tables(), guardTable, 'and goes then');
    });

    await t.test('nor where the guard does not hold', async (t) => {
      await mustRun('nft', ['flush', 'ruleset']);
      const input = `table inet ${guardTable} {
        set own4 { type ipv4_addr; }
        set own6 { type ipv6_addr; }
        set cables4 { type iface_index . ipv4_addr; }
        set cables6 { type iface_index . ipv6_addr; }
      }`;
      await mustRun('nft', ['-f', '-'], { input });
      const { report } = await chosen();
      t.match(report, { tier: 'kernel', reasons: [/^guard: IPv4 from a pod's address passes/] });
      const told = lines.find(({ text }) => text.startsWith('pods of this node have tunnels'));
      t.match(told, { level: 'warn', fields: { reasons: [/^guard: IPv4/] } });
      await mustRun('nft', ['flush', 'ruleset']);
    });
  }
}
