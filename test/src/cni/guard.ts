// SPDX-License-Identifier: Apache-2.0
// Addresses of pods, kept from others by a node. Runs itself in a namespace that is the node. Needs
// root.
import t from 'tap';
import { cablesOf, Guard, guardTable, indicesOf, triedAddresses } from '../../../src/cni/guard.ts';
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
    const hung = { ...far, master: 'cni0' };
    const indices = indicesOf([hung], [hung, { ifname: 'cni0', ifindex: 9 }]);
    t.strictSame(indices, { inet: [7, 9], bridge: [7] }, 'and a bridge is one for IP alone');
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
  const layRouted = async (cable: string, netns: string, address: string): Promise<void> => {
    const cables = [
      `link add ${cable} type veth peer name eth0 netns ${netns}`,
      `link set ${cable} up`,
      `route replace ${address}/32 dev ${cable}`,
    ];
    await mustRun('ip', ['-batch', '-'], { input: cables.join('\n') });
  };
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

  await t.test('what is left of a pod whose cable is gone goes with it', async (t) => {
    const other = await makeNetNamespace();
    t.teardown(() => other.close());
    await layRouted('gone', other.path, '10.8.4.2');
    t.equal(await guard.add(other.path, ['10.8.4.2']), undefined);
    await mustRun('ip', ['link', 'del', 'gone']);
    await guard.remove(other.path, ['10.8.4.2']);
    t.notMatch(await held(), '10.8.4.2');
  });

  await t.test("an address that another pod has by now stays that one's alone", async (t) => {
    const [first, next] = [await makeNetNamespace(), await makeNetNamespace()];
    t.teardown(() => Promise.all([first.close(), next.close()]));
    await layRouted('first', first.path, '10.8.5.2');
    t.equal(await guard.add(first.path, ['10.8.5.2']), undefined);
    await layRouted('next', next.path, '10.8.5.2');
    t.equal(await guard.add(next.path, ['10.8.5.2']), undefined);
    await guard.remove(first.path, ['10.8.5.2']);
    t.match(await held(), '"next" . 10.8.5.2');
    t.notMatch(await held(), '"first" . 10.8.5.2');
    await guard.remove(next.path, ['10.8.5.2']);
    t.notMatch(await held(), '10.8.5.2');
  });

  await t.test("after a restart it keeps what is the pods' that are there", async (t) => {
    const names = [makeNetNamespace(), makeNetNamespace(), makeNetNamespace()] as const;
    const [gone, late, checked] = await Promise.all(names);
    t.teardown(() => Promise.all([gone.close(), late.close(), checked.close()]));
    await layRouted('stale', gone.path, '10.8.6.2');
    await layRouted('late', late.path, '10.8.7.2');
    await guard.add(pod.path, [ipv4, ipv6]);
    await guard.add(gone.path, ['10.8.6.2']);
    await guard.add(late.path, ['10.8.7.2']);
    const { ipv4: tried } = triedAddresses;
    await layRouted('tried', checked.path, tried);
    await guard.add(checked.path, [tried]);
    const next = await Guard.open();
    await next.add(pod.path, [ipv4, ipv6]);
    await next.retain(['10.8.7.2']);
    const rules = await held();
    t.notMatch(rules, '10.8.6.2');
    for (const pair of [
      `"cable" . ${ipv4}`,
      `"cable" . ${ipv6}`,
      '"late" . 10.8.7.2',
      `"tried" . ${tried}`,
    ]) {
      t.match(rules, pair);
    }
    const older = ['inet', 'bridge'].map((family) => `table ${family} weft_guard_1 { }\n`);
    await mustRun('nft', ['-f', '-'], { input: older.join('') });
    await next.retain(['10.8.7.2']);
    t.match(
      await held(),
      'table inet weft_guard_1',
      'which guards pods that are as they were left',
    );
    await next.retain([]);
    t.notMatch(await held(), 'weft_guard_1', 'what an older layout kept goes');
    await new Guard(['inet']).retain([]);
    t.notMatch(await held(), `bridge ${guardTable}`, 'and no table that is not looked at');
    t.notMatch(await held(), ipv4);
    await Guard.uninstall();
    t.notMatch(await held(), guardTable);
  });
}
