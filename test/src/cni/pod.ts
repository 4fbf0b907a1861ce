// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { type PodEnrolment, sameClaim } from '../../../src/cni/pod.ts';

const pod: PodEnrolment = {
  uid: 'u',
  name: 'one',
  namespace: 'demo',
  serviceAccount: 'web',
  netns: '/run/netns/one',
  nameservers: ['10.0.0.53', '10.0.0.54'],
};

t.test('a claim is the same but for the file of its namespace, and for settings', async (t) => {
  t.ok(sameClaim(pod, { ...pod, netns: '/proc/1/ns/net' }));
  const others = { name: 'x', namespace: 'x', serviceAccount: 'x', nameservers: ['10.0.0.54'] };
  t.ok(sameClaim(pod, { ...pod, bypass: 'sockmap', sameNode: 'tunnel' }));
  for (const [field, value] of Object.entries(others)) {
    t.notOk(sameClaim(pod, { ...pod, [field]: value }), field);
  }
});
