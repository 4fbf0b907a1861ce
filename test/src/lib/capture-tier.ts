// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { adviceOn, type CaptureFeature, tierOf } from '../../../src/lib/capture-tier.ts';

const needed = [
  ...['cgroup2', 'capabilities', 'link_cgroup', 'link_netns', 'connect4', 'connect6'],
  ...['getpeername4', 'getpeername6', 'getsockname4', 'getsockname6', 'sendmsg4', 'sendmsg6'],
  ...['recvmsg4', 'recvmsg6', 'sockops', 'sock_release', 'netns_cookie', 'ringbuf', 'sk_lookup'],
];
const forDirect = ['sock_destroy', 'guard'];
const optional = ['set_retval', 'iter_tcp', 'sk_msg', 'btf', 'lockdown', 'foreign_programs'];
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
