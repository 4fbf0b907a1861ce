// SPDX-License-Identifier: Apache-2.0
// Pods on a bridge of a node that guards their addresses: they reach whom they reached, and nobody on
// the bridge passes as one. Runs itself in a namespace that is the node. Needs root.
import { closeSync, openSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { sendFrames } from '../../../native/pod-socket.ts';
import { Guard, guardTable } from '../../../src/cni/guard.ts';
import { advertisementFrame, macFrame, packetFrame } from '../../../src/cni/guard-frames.ts';
import { mustRun, runProgram } from '../../../src/lib/program.ts';
import { makeNetNamespace } from '../../support/net-namespace.ts';

const isNode = process.env['WEFT_TEST_NODE'] === 'yes';
/** Addresses by family: of the node, of three pods on its bridge, and of one elsewhere. */
const places = {
  ipv4: {
    node: '10.8.9.1',
    own: '10.8.9.2',
    near: '10.8.9.3',
    thief: '10.8.9.4',
    far: '10.8.10.2',
  },
  ipv6: {
    node: 'fd08:9::1',
    own: 'fd08:9::2',
    near: 'fd08:9::3',
    thief: 'fd08:9::4',
    far: 'fd08:a::2',
  },
} as const;
const gateways = { ipv4: '10.8.10.1', ipv6: 'fd08:a::1' } as const;
const closedPort = 9;

function inPod(path: string, lines: readonly string[]): Promise<string> {
  const command = [`--net=${path}`, 'ip', '-batch', '-'];
  return mustRun('nsenter', command, { input: lines.join('\n') });
}

/** Whether a port without a listener answers; a pod that is cut off hears nothing. */
async function isReached(path: string, address: string): Promise<boolean> {
  const script = `exec 3<>/dev/tcp/${address}/${closedPort}`;
  const command = [`--net=${path}`, 'timeout', '3', 'bash', '-c', script];
  return (await runProgram('nsenter', command)).stderr.includes('Connection refused');
}

async function dropped(family: 'inet' | 'bridge'): Promise<number> {
  const text = await mustRun('nft', ['list', 'chain', family, guardTable, 'foreign']);
  return [...text.matchAll(/packets (\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0);
}

async function send(test: Test, path: string, bytes: Buffer): Promise<void> {
  const netns = openSync(path, 'r');
  test.teardown(() => closeSync(netns));
  sendFrames(netns, [{ device: 'eth0', bytes }]);
}

async function isDroppedOnBridge(test: Test, path: string, bytes: Buffer) {
  const before = await dropped('bridge');
  await send(test, path, bytes);
  for (const until = Date.now() + 3_000; Date.now() < until; ) {
    if ((await dropped('bridge')) > before) {
      return true;
    }
  }
  return false;
}

if (!isNode) {
  const env = { ...process.env, WEFT_TEST_NODE: 'yes' };
  t.spawn('unshare', ['--net', process.execPath, import.meta.filename], { env }, 'on a node');
} else {
  const { ipv4, ipv6 } = places;
  const pods = {
    own: await makeNetNamespace(),
    near: await makeNetNamespace(),
    thief: await makeNetNamespace(),
    far: await makeNetNamespace(),
  };
  t.teardown(() => Promise.all(Object.values(pods).map((pod) => pod.close())));
  const names = ['own', 'near', 'thief', 'far'] as const;
  const cables = names.flatMap((name) => [
    `link add ${name} type veth peer name eth0 netns ${pods[name].path}`,
    `link set ${name} ${name === 'far' ? '' : 'master cni0'} up`,
  ]);
  const lines = [
    ...['link set lo up', 'link add cni0 type bridge', 'link set cni0 up', ...cables],
    ...[`address add ${ipv4.node}/24 dev cni0`, `address add ${ipv6.node}/64 dev cni0 nodad`],
    ...[`address add ${gateways.ipv4}/24 dev far`, `address add ${gateways.ipv6}/64 dev far nodad`],
  ];
  await mustRun('ip', ['-batch', '-'], { input: lines.join('\n') });
  writeFileSync('/proc/sys/net/ipv4/ip_forward', '1');
  writeFileSync('/proc/sys/net/ipv6/conf/all/forwarding', '1');
  for (const name of names) {
    const via = name === 'far' ? gateways : { ipv4: ipv4.node, ipv6: ipv6.node };
    await inPod(pods[name].path, [
      ...['link set lo up', 'link set eth0 up'],
      ...[`address add ${ipv4[name]}/24 dev eth0`, `address add ${ipv6[name]}/64 dev eth0 nodad`],
      ...[`route add default via ${via.ipv4}`, `route add default via ${via.ipv6}`],
    ]);
  }
  const guard = await Guard.open();
  const { own, thief } = pods;

  for (const filters of ['0', '1']) {
    await t.test(`with bridge-nf-call ${filters}`, async (t) => {
      for (const kind of ['iptables', 'ip6tables']) {
        try {
          writeFileSync(`/proc/sys/net/bridge/bridge-nf-call-${kind}`, filters);
        } catch (error) {
          t.comment(`without br_netfilter: ${String(error)}`);
        }
      }
      await guard.remove(own.path, [ipv4.own, ipv6.own]);
      t.equal(await guard.add(own.path, [ipv4.own, ipv6.own]), undefined);
      for (const [family, { own: source, ...others }] of Object.entries(places)) {
        for (const place of ['node', 'near', 'far'] as const) {
          t.ok(await isReached(own.path, others[place]), `reaches ${place} by ${family}`);
        }
        const above = await dropped('inet');
        const what = `a neighbour that sends from its address of ${family} is dropped on the bridge`;
        t.ok(await isDroppedOnBridge(t, thief.path, packetFrame(source, others.node)), what);
        t.equal(await dropped('inet'), above, 'and comes no further');
      }
    });
  }
  /** The MAC at which `near` would send what is for `address`. */
  const neighbourOf = async (address: string): Promise<string> => {
    const command = [`--net=${pods.near.path}`, 'ip', '-j', 'neigh', 'show', address];
    const [entry] = JSON.parse(await mustRun('nsenter', command)) as { lladdr?: string }[];
    return entry?.lladdr ?? '';
  };
  await t.test('nobody on the bridge advertises an address of IPv6 as its own', async (t) => {
    t.ok(await isReached(pods.near.path, ipv6.own));
    const mac = await neighbourOf(ipv6.own);
    const lie = advertisementFrame(ipv6.thief, ipv6.own);
    t.ok(await isDroppedOnBridge(t, thief.path, lie));
    t.equal(await neighbourOf(ipv6.own), mac, 'neighbours go on as they did');
    const before = await dropped('bridge');
    await send(t, thief.path, advertisementFrame(ipv6.thief, ipv6.thief));
    t.ok(await isReached(pods.near.path, ipv4.own), 'by when that has passed');
    t.equal(await dropped('bridge'), before, 'what is its own it may');
  });

  await t.test('nobody draws frames to itself by the MAC of a pod', async (t) => {
    const mac = await neighbourOf(ipv6.own);
    const portOf = async (): Promise<string | undefined> => {
      const all = JSON.parse(await mustRun('bridge', ['-j', 'fdb', 'show', 'br', 'cni0'])) as {
        mac: string;
        ifname: string;
        flags: string[];
      }[];
      return all.find((entry) => entry.mac === mac && entry.flags.length === 0)?.ifname;
    };
    t.equal(await portOf(), 'own');
    t.ok(await isDroppedOnBridge(t, thief.path, macFrame(mac)));
    t.equal(await portOf(), 'own', 'the bridge has not learnt it');
    await guard.remove(own.path, [ipv4.own, ipv6.own]);
    let learnt = false;
    // Its owner may say something in between.
    for (const until = Date.now() + 5_000; !learnt && Date.now() < until; ) {
      await send(t, thief.path, macFrame(mac));
      learnt = (await portOf()) === 'thief';
    }
    t.ok(learnt, 'without a guard it does');
    t.notMatch(await mustRun('nft', ['list', 'table', 'bridge', guardTable]), mac);
  });

  await t.test("a MAC that another pod has is nobody else's", async (t) => {
    t.equal(await guard.add(own.path, [ipv4.own, ipv6.own]), undefined);
    const mac = await neighbourOf(ipv6.own);
    await inPod(thief.path, [`link set eth0 address ${mac}`]);
    t.match(await guard.add(thief.path, [ipv4.thief]), /another pod has its MAC/);
  });
}
