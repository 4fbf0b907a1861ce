// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import {
  adviceOn,
  type CaptureFeature,
  lostOf,
  partsWithoutHooks,
  tierOf,
} from '../../../src/lib/capture-tier.ts';

const needed = [
  ...['cgroup2', 'capabilities', 'link_cgroup', 'link_netns', 'connect4', 'connect6'],
  ...['getpeername4', 'getpeername6', 'sockops', 'netns_cookie', 'ringbuf', 'sk_lookup'],
];
const hooks = {
  dns: ['sendmsg4', 'sendmsg6', 'recvmsg4', 'recvmsg6'],
  own_name: ['getsockname4', 'getsockname6'],
} as const;
const forDirect = ['sock_destroy', 'sock_release', 'guard', 'direct'];
const optional = [
  ...['set_retval', 'iter_tcp', 'iter_sockmap', 'sk_msg', 'btf', 'lockdown', 'foreign_programs'],
  ...['services', ...Object.keys(hooks), ...Object.values(hooks).flat()],
];
const names = [...needed, ...forDirect, ...optional];

const all = (without?: string, result: CaptureFeature['result'] = 'no'): CaptureFeature[] =>
  names.map((name) => ({ name, result: name === without ? result : 'yes', seen: 'seen' }));

t.test('a machine that can all of it connects pods directly', async (t) => {
  t.strictSame(tierOf(all()), { tier: 'kernel-direct', reasons: [] });
});

t.test('what only direct connections need costs only these', async (t) => {
  for (const name of forDirect) {
    t.strictSame(tierOf(all(name)), { tier: 'kernel', reasons: [`${name}: seen`] });
  }
});

t.test('what capture in the kernel needs leaves nftables, and is named', async (t) => {
  for (const name of needed) {
    t.strictSame(tierOf(all(name)), { tier: 'nftables', reasons: [`${name}: seen`] });
  }
});

t.test('what is optional, and what only gives warning, changes nothing', async (t) => {
  for (const name of optional) {
    t.equal(tierOf(all(name)).tier, 'kernel-direct', name);
  }
  for (const name of names) {
    t.equal(tierOf(all(name, 'warn')).tier, 'kernel-direct', name);
  }
});

t.test('what only loaded programs can tell is not missed before they are', async (t) => {
  t.strictSame(tierOf(all().filter(({ name }) => name !== 'direct')), tierOf(all()));
});

t.test('what capture can do without is told when it is lost', async (t) => {
  for (const name of ['direct', 'services', 'dns', 'own_name']) {
    t.strictSame(lostOf(all(name)), [`${name}: seen`]);
  }
  t.strictSame(lostOf(all('sk_msg')), []);
});

t.test('a part whose hooks do not work is not tried', async (t) => {
  t.strictSame(partsWithoutHooks(all()), []);
  for (const [part, each] of Object.entries({ ...hooks, direct: ['sock_release'] })) {
    for (const hook of each) {
      t.strictSame(partsWithoutHooks(all(hook)), [part]);
    }
  }
});

t.test('what was not tried counts as missing', async (t) => {
  const { tier, reasons } = tierOf(all().filter(({ name }) => name !== 'sk_lookup'));
  t.strictSame([tier, reasons], ['nftables', ['sk_lookup: was not tried']]);
});

t.test('each feature has advice, and none that nobody knows', async (t) => {
  for (const name of names) {
    const { loses, how } = adviceOn(name);
    t.ok(loses !== '' && how !== '', name);
  }
  t.strictSame(adviceOn('nothing'), { loses: '', how: '' });
});
