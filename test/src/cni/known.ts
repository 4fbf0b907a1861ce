// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { listed, sameCapture } from '../../../src/cni/known.ts';
import type { PodEnrolment } from '../../../src/cni/pod.ts';

const pod: PodEnrolment = {
  ...{ uid: 'u', name: 'n', namespace: 's', serviceAccount: 'a', netns: '/n', nameservers: [] },
};

t.test('what the next run has to know is what is not as usual', async (t) => {
  const plain = { pod, meshCapture: undefined, former: undefined, releasing: false };
  t.strictSame(listed(plain), pod);
  const former = { 'ipv4/fwmark_reflect': '0' };
  const all = { pod, meshCapture: 'nft', former, releasing: true } as const;
  t.strictSame(listed(all), { ...pod, meshCapture: 'nft', former, releasing: true });
});

t.test('a capture is the same when the word that counts is', async (t) => {
  const known = { pod, meshCapture: 'nft' } as const;
  t.ok(sameCapture(known, { ...pod, sameNode: 'tunnel' }, { capture: 'nft' }));
  t.notOk(sameCapture(known, pod, { capture: 'ebpf' }), 'the mesh has another');
  t.notOk(sameCapture(known, { ...pod, capture: 'nft' }, { capture: 'nft' }), 'it has its own now');
  const own = { pod: { ...pod, capture: 'ebpf' }, meshCapture: 'nft' } as const;
  t.ok(sameCapture(own, own.pod, {}), 'whatever the mesh says');
  t.ok(sameCapture(own, { ...pod, ofNamespace: { capture: 'ebpf' } }, {}), 'and whoever says it');
});
