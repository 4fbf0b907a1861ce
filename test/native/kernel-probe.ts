// SPDX-License-Identifier: Apache-2.0
// Each thing is really taken away, and is missed; all others are not. Needs root.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { foreignPrograms, tryFeatures } from '../../native/kernel-probe.ts';
import { cgroup2RootOf } from '../../src/lib/machine.ts';
import { mustRun } from '../../src/lib/program.ts';
import { attachForeign } from '../support/foreign-program.ts';
import { lackingHere } from '../support/this-kernel.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';
const root = cgroup2RootOf(readFileSync('/proc/mounts', 'utf8')) ?? '';
const support = new URL('../support/', import.meta.url).pathname;
const all = [
  ...['connect4', 'connect6', 'getpeername4', 'getpeername6', 'getsockname4', 'getsockname6'],
  ...['sendmsg4', 'sendmsg6', 'recvmsg4', 'recvmsg6', 'sock_release', 'sockops'],
  ...['netns_cookie', 'ringbuf'],
  ...['set_retval', 'sk_lookup', 'sock_destroy', 'iter_tcp', 'iter_sockmap', 'sk_msg'],
  ...['link_cgroup', 'link_netns', 'btf'],
];
const lacking = skip === false ? await lackingHere() : new Map<string, string>();
for (const [name, reason] of lacking) {
  t.comment(`${name} is not asked of this kernel: ${reason}`);
}
const isAsked = (name: string): boolean => !lacking.has(name);
const everything = all.filter(isAsked);
/** What is tried by a program at that hook of its own. */
const alsoBy: Readonly<Record<string, readonly string[]>> = {
  connect4: ['netns_cookie', 'ringbuf', 'set_retval', 'link_cgroup'],
  sockops: ['netns_cookie'],
};
const allBut = (...names: readonly string[]): string[] =>
  everything.filter((name) => !names.includes(name));
const ofCgroups = everything.slice(0, everything.indexOf('sockops') + 1);

function cgroupFor(t: Test): string {
  const folder = join(root, `weft-test-probe-${process.pid}`);
  mkdirSync(folder);
  t.teardown(() => rmdirSync(folder));
  return folder;
}

const missing = (features: Awaited<ReturnType<typeof tryFeatures>>): string[] =>
  features
    .filter(({ works }) => !works)
    .map(({ name }) => name)
    .filter(isAsked);

/** What a process misses that is started by `command`. */
async function missingUnder(
  command: readonly string[],
  cgroup: string | undefined = root,
): Promise<Map<string, string>> {
  const text = `import { tryFeatures } from ${JSON.stringify(`${support}../../native/kernel-probe.ts`)};
    process.stdout.write(JSON.stringify(await tryFeatures(${JSON.stringify(cgroup)})));`;
  const [file = '', ...args] = [...command, process.execPath, '--input-type=module', '-e', text];
  const features = JSON.parse(await mustRun(file, args)) as Awaited<ReturnType<typeof tryFeatures>>;
  t.equal(features.length, all.length);
  const lost = features.filter(({ name, works }) => !works && isAsked(name));
  return new Map(lost.map(({ name, reason }) => [name, reason]));
}

const withoutBpf = (number: number): string[] => [
  'python3',
  `${support}without_bpf.py`,
  String(number),
];

t.test('what a kernel can is tried one by one', { skip }, async (t) => {
  await t.test('and on this one all of it works, without a trace', async (t) => {
    const features = await tryFeatures(root);
    t.same(features.map(({ name }) => name).sort(), [...all].sort());
    t.strictSame(
      features.filter(({ name, works, reason }) => isAsked(name) && (!works || reason !== '')),
      [],
    );
    const own = `weft-probe-${process.pid}-`;
    t.notOk(readdirSync(root).some((name) => name.startsWith(own)));
  });

  await t.test('a hook that somebody has for himself is missed, and no other', async (t) => {
    const cgroup = cgroupFor(t);
    for (const hook of ofCgroups) {
      const foreign = await attachForeign(hook, cgroup, true);
      const features = await tryFeatures(cgroup);
      await foreign.detach();
      t.strictSame(missing(features).sort(), [hook, ...(alsoBy[hook] ?? [])].sort(), hook);
      const why = features.find(({ name }) => name === hook)?.reason ?? '';
      t.match(why, /^attach try_.*Operation not permitted/);
    }
  });

  for (const [what, number, names] of [
    ['iterators', 33, ['iter_tcp', 'iter_sockmap'].filter(isAsked)],
    ['attaching to maps', 8, ['sk_msg']],
    ['replacing the program of a link', 29, ['link_cgroup', 'link_netns']],
    ['maps', 0, allBut('sock_destroy', 'btf', 'link_cgroup', 'link_netns')],
    ['programs', 5, allBut('sock_destroy', 'btf')],
    ['links', 28, allBut('sock_destroy', 'btf', 'sk_msg')],
  ] as const) {
    await t.test(`a kernel that refuses ${what}`, async (t) => {
      const found = await missingUnder(withoutBpf(number));
      t.strictSame([...found.keys()].sort(), [...names].sort());
      t.match([...found.values()][0], /Operation not permitted|-EPERM/);
    });
  }

  await t.test('a kernel without descriptions of its types', async (t) => {
    const hide = 'mount --bind /dev/null /sys/kernel/btf/vmlinux && exec "$@"';
    const found = await missingUnder(['unshare', '--mount', 'sh', '-c', hide, 'sh']);
    t.strictSame([...found.keys()].sort(), ['btf', 'iter_sockmap', 'iter_tcp'].filter(isAsked));
  });

  await t.test('no right to networks', async (t) => {
    const found = await missingUnder(['setpriv', '--bounding-set', '-net_admin']);
    for (const name of ['connect4', 'sk_lookup', 'sock_destroy']) {
      t.match(found.get(name), /Operation not permitted/, name);
    }
    t.notOk(found.has('btf'));
  });

  await t.test('no right to namespaces', async (t) => {
    const found = await missingUnder(['setpriv', '--bounding-set', '-sys_admin']);
    t.match(found.get('sk_lookup'), /make a network namespace: Operation not permitted/);
    t.match(found.get('connect4'), /make a network namespace/);
  });

  await t.test('no cgroup v2', async (t) => {
    const found = missing(await tryFeatures(undefined));
    const others = [
      ...['sk_lookup', 'sock_destroy', 'iter_tcp', 'iter_sockmap', 'sk_msg'],
      ...['link_netns', 'btf'],
    ];
    t.strictSame(found.sort(), allBut(...others).sort());
  });

  const legacy = '/sys/fs/cgroup/cpu';
  const noLegacy = existsSync(`${legacy}/cgroup.procs`) ? false : 'no hierarchy of version 1 here';
  await t.test('a cgroup of version 1', { skip: noLegacy }, async (t) => {
    const features = await tryFeatures(legacy);
    t.match(features.find(({ name }) => name === 'connect4')?.reason, /Bad file descriptor/);
    t.ok(features.find(({ name }) => name === 'sk_lookup')?.works);
    t.strictSame(
      readdirSync(legacy).filter((name) => name.startsWith('weft-probe')),
      [],
    );
  });

  await t.test('what a killed one left goes with the next, unless it is new', async (t) => {
    const [old, young] = [join(root, 'weft-probe-0-1'), join(root, 'weft-probe-0-2')];
    mkdirSync(old);
    mkdirSync(young);
    t.teardown(() => rmdirSync(young));
    const longAgo = Date.now() / 1000 - 3600;
    utimesSync(old, longAgo, longAgo);
    await tryFeatures(root);
    t.notOk(existsSync(old));
    t.ok(existsSync(young));
  });
});

t.test("programs of others are found by their own cgroups' names", { skip }, async (t) => {
  const upper = cgroupFor(t);
  const lower = join(upper, 'pods');
  mkdirSync(lower);
  t.teardown(() => rmdirSync(lower));
  t.strictSame(foreignPrograms(lower), []);
  const above = await attachForeign('connect4', upper);
  const below = await attachForeign('sockops', lower);
  t.strictSame(
    foreignPrograms(lower).sort((a, b) => a.hook.localeCompare(b.hook)),
    [
      { name: 'stranger', hook: 'connect4', place: upper },
      { name: 'stranger', hook: 'sockops', place: lower },
    ],
  );
  t.strictSame(
    foreignPrograms(upper).map(({ hook }) => hook),
    ['connect4'],
  );
  await below.detach();
  await above.detach();
  t.throws(() => foreignPrograms('/nowhere'), { code: 'invalid' });
});
