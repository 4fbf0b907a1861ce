// SPDX-License-Identifier: Apache-2.0
// Addresses of pods, kept from others by a node. Runs itself in a namespace that is the node. Needs
// root.
import t from 'tap';
import { cablesOf, Guard } from '../../../src/cni/guard.ts';
import { mustRun } from '../../../src/lib/program.ts';
import { makeNetNamespace } from '../../support/net-namespace.ts';

const isNode = process.env['WEFT_TEST_NODE'] === 'yes';
const ipv4 = '10.8.1.2';
const ipv6 = 'fd08:1::2';
const gateway = '10.8.2.1';

if (!isNode) {
  t.test('a cable has two ends that say so', async (t) => {
    const near = { ifname: 'eth0', ifindex: 2, link_index: 7 };
    const far = { ifname: 'pod', ifindex: 7, link_index: 2 };
    t.strictSame(cablesOf([near], [far, { ...far, ifindex: 8 }, { ifname: 'lo', ifindex: 1 }]), [
      far,
    ]);
    t.strictSame(cablesOf([{ ...near, ifindex: 3 }], [far]), []);
  });
  const env = { ...process.env, WEFT_TEST_NODE: 'yes' };
  t.spawn('unshare', ['--net', process.execPath, import.meta.filename], { env }, 'on a node');
} else {
  const pod = await makeNetNamespace();
  t.teardown(() => pod.close());
  const lines = [
    'link set lo up',
    `link add cable type veth peer name eth0 netns ${pod.path}`,
    'link set cable up',
    `route add ${ipv4}/32 dev cable`,
    `route add ${ipv6}/128 dev cable`,
    `address add ${gateway}/32 dev lo`,
  ];
  await mustRun('ip', ['-batch', '-'], { input: lines.join('\n') });
  await mustRun('nsenter', [`--net=${pod.path}`, 'ip', 'link', 'set', 'eth0', 'up']);
  const guard = await Guard.open();
  const held = (): Promise<string> => mustRun('nft', ['list', 'ruleset']);

  await t.test('a pod has the addresses that the node reaches by its cable', async (t) => {
    t.equal(await guard.add(pod.path, [ipv4, ipv6]), undefined);
    t.match(await held(), new RegExp(`"cable" \\. ${ipv4.replaceAll('.', '\\.')}`));
    await guard.remove(pod.path, [ipv4, ipv6]);
    t.notMatch(await held(), ipv4);
  });

  for (const [title, address] of [
    ["the node's own", gateway],
    ['that the node does not know', '10.8.3.1'],
    ['that the node does not know, of IPv6', 'fd08:3::1'],
  ] as const) {
    await t.test(`and none ${title}, whatever it says`, async (t) => {
      t.match(await guard.add(pod.path, [ipv4, address]), /does not reach/);
      const rules = await held();
      t.notMatch(rules, address);
      t.notMatch(rules, ipv4, 'nor any of them then');
    });
  }
}
