// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import type { PodObject } from '../../../src/lab/mesh-files.ts';
import { labNames, planLab } from '../../../src/lab/topology.ts';

const names = labNames('test', '/sys/fs/cgroup');

function pod(change: Partial<PodObject> = {}): PodObject {
  return {
    name: 'one',
    namespace: 'demo',
    uid: 'demo/one',
    node: 'node-a',
    serviceAccount: 'client',
    addresses: ['10.77.1.10', 'fd77:0:0:1::10'],
    enrolled: true,
    settings: {},
    ofNamespace: {},
    containers: [],
    ...change,
  };
}

t.test('everything of a lab carries its name', async (t) => {
  t.same(names, {
    netnsPrefix: 'weft-test-',
    cgroup: '/sys/fs/cgroup/weft-test',
    folder: '/run/weft/test',
    keys: '/dev/shm/weft/test',
  });
  const plan = planLab(names, [pod()]);
  for (const { netns } of [plan.control, ...plan.nodes, ...plan.pods]) {
    t.ok(netns.startsWith(names.netnsPrefix), netns);
  }
});

t.test('a name that could reach outside is refused', async (t) => {
  for (const name of ['', 'a/b', '..', 'A', '1a', 'abcdefghijk']) {
    t.throws(() => labNames(name, '/'), { code: 'invalid' }, JSON.stringify(name));
  }
  t.equal(labNames('abcdefghij', '').netnsPrefix, 'weft-abcdefghij-');
});

t.test('a pod gets the addresses of its node that its status lists', async (t) => {
  const addresses = ['192.0.2.1', '10.77.2.10', 'fd77:0:0:1::9', 'fd77:0:0:2::a'];
  const [planned] = planLab(names, [pod({ node: 'node-b', addresses })]).pods;
  t.match(planned, { ipv4: '10.77.2.10', ipv6: 'fd77:0:0:2::a', link: 'pod10' });
});

t.test('a pod that cannot be built is refused by name', async (t) => {
  const bad = [
    pod({ node: 'node-c' }),
    pod({ addresses: ['10.77.1.10'] }),
    pod({ addresses: ['10.77.2.10', 'fd77:0:0:2::10'] }),
    pod({ name: '../one' }),
  ];
  for (const each of bad) {
    t.throws(() => planLab(names, [each]), { code: 'invalid', message: `pod ${each.name}` });
  }
});

t.test('two pods cannot share a name, a uid or an address', async (t) => {
  const second = pod({
    name: 'two',
    uid: 'demo/two',
    addresses: ['10.77.1.11', 'fd77:0:0:1::11'],
  });
  t.equal(planLab(names, [pod(), second]).pods.length, 2);
  t.throws(() => planLab(names, [pod(), { ...second, name: 'one' }]), { message: 'the name one' });
  t.throws(() => planLab(names, [pod(), { ...second, uid: 'demo/one' }]), { message: 'uid' });
  t.throws(() => planLab(names, [pod(), { ...second, addresses: pod().addresses }]), {
    message: 'the ipv4 10.77.1.10',
  });
});
