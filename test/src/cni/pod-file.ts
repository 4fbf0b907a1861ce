// SPDX-License-Identifier: Apache-2.0
import { statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { ListedPod } from '../../../src/cni/pod.ts';
import { loadPods, savePods } from '../../../src/cni/pod-file.ts';

const old = { uid: 'u', name: 'n', namespace: 's', serviceAccount: 'a', netns: '/run/netns/x' };
const ofNamespace = { sameNode: 'tunnel' } as const;
const pod: ListedPod = {
  ...old,
  nameservers: ['10.0.0.53'],
  bypass: 'sockmap',
  ofNamespace,
  meshCapture: 'nft',
};

t.test('the list comes back as it was saved, readable by its owner only', async (t) => {
  const path = join(t.testdir(), 'pods.json');
  t.same(loadPods(path), []);
  const leaving = { ...pod, uid: 'v', releasing: true } as const;
  savePods(path, [pod, leaving]);
  t.same(loadPods(path), [pod, leaving]);
  t.equal(statSync(path).mode & 0o777, 0o600);
});

t.test('a list of before there were resolvers in it is still read', async (t) => {
  const path = join(t.testdir({ 'pods.json': JSON.stringify([old]) }), 'pods.json');
  t.same(loadPods(path), [{ ...old, nameservers: [] }]);
});

t.test('a damaged list is an error, not an empty one', async (t) => {
  for (const text of ['', '[{', '[{"uid":"u"}]']) {
    const path = join(t.testdir({ 'pods.json': text }), 'pods.json');
    t.throws(() => loadPods(path), { code: 'invalid' });
  }
});
