// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import type { PodSettings } from '../../../src/cni/pod.ts';
import { type NodeSettings, sameWants, settingsOf, wantsOf } from '../../../src/cni/settings.ts';
import type { MeshConfig } from '../../../src/lib/pod-settings.ts';

const plain = { uid: 'u', name: 'n', namespace: 's', serviceAccount: 'a', netns: '/n' };
const node: NodeSettings = { capture: 'ebpf', hasEbpf: true, sameNode: 'direct', bypass: 'none' };
const nftNode: NodeSettings = { ...node, capture: 'nft', hasEbpf: false, sameNode: 'tunnel' };

function inForce(own: PodSettings, space: PodSettings, mesh: MeshConfig, of = node) {
  const { capture, sameNode, bypass } = settingsOf(
    { ...own, ofNamespace: space },
    mesh,
    mesh.capture,
    of,
  );
  return [capture, sameNode, bypass].map(({ value, from }) => `${value} (${from})`);
}

t.test('the nearest word counts, and it is told whose it is', async (t) => {
  const [tunnel, direct] = [{ sameNode: 'tunnel' }, { sameNode: 'direct' }] as const;
  t.same(inForce({}, {}, {}), ['ebpf (node)', 'direct (node)', 'none (node)']);
  t.same(inForce({}, {}, tunnel)[1], 'tunnel (mesh)');
  t.same(inForce({}, direct, tunnel)[1], 'direct (namespace)');
  t.same(inForce(tunnel, direct, direct)[1], 'tunnel (pod)');
  t.same(inForce({}, { capture: 'ebpf' }, { capture: 'nft' })[0], 'ebpf (namespace)');
  t.same(inForce({ bypass: 'sockmap' }, { bypass: 'none' }, {})[2], 'sockmap (pod)');
});

t.test('what nftables captures has tunnels, whoever wanted that', async (t) => {
  t.same(inForce({ sameNode: 'direct' }, {}, { capture: 'nft' }).slice(0, 2), [
    'nft (mesh)',
    'tunnel (mesh)',
  ]);
});

t.test('a node that cannot or may not has the last word', async (t) => {
  t.same(inForce({ sameNode: 'direct' }, {}, {}, { ...node, sameNode: 'tunnel' }), [
    'ebpf (node)',
    'tunnel (node)',
    'none (node)',
  ]);
  t.same(inForce({}, {}, { capture: 'ebpf' }, nftNode)[0], 'nft (node)');
});

t.test('what is asked of capture leaves to the node what nobody says', async (t) => {
  const pod = { ...plain, nameservers: [] };
  t.match(wantsOf(pod, {}, undefined), { capture: undefined, sameNode: undefined });
  const wants = wantsOf({ ...pod, ofNamespace: { bypass: 'sockmap' } }, {}, 'nft');
  t.match(wants, { capture: undefined, preferred: 'nft', bypass: 'sockmap' });
  t.ok(sameWants(wants, { ...wants }));
  const others = { capture: 'nft', preferred: 'ebpf', sameNode: 'tunnel', bypass: 'none' };
  for (const [field, value] of Object.entries(others)) {
    t.notOk(sameWants(wants, { ...wants, [field]: value }), field);
  }
});
