// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { MeshPublisher } from '../../../src/control/mesh-publisher.ts';
import { createLog } from '../../../src/lib/log.ts';
import { AdsServer, type Publication } from '../../../src/xds/server.ts';
import { typeUrls } from '../../../src/xds/wire.ts';
import { meshOf, pod } from '../../support/mesh-objects.ts';

t.test('changes are published together, and what came and went not at all', async (t) => {
  const published: Publication[] = [];
  const log = createLog('test', 'silent');
  const ads = new AdsServer({ log, callerOf: () => undefined });
  ads.publish = (publication) => published.push(publication);
  const mesh = new MeshPublisher('cluster.local', ads);
  const [x, y] = [pod(), pod({ name: 'y', addresses: [] })];
  const objects = meshOf({ Pod: [x, y] });
  mesh.add({ removed: [], added: objects });
  t.same(mesh.publish(), { workloads: 1, services: 0, policies: 1 });
  const names = ({ [typeUrls.address]: change }: Publication) => [
    ...(change?.changed ?? []).map(({ name }) => `+${name}`),
    ...(change?.removed ?? []).map((name) => `-${name}`),
  ];
  const [own] = objects.filter(({ value }) => value === x);
  const [late] = meshOf({ Namespace: [], Node: [], Pod: [pod({ name: 'late' })] });
  if (own === undefined || late === undefined) {
    throw new Error('no pods');
  }
  mesh.add({ removed: [], added: [late] });
  mesh.add({ removed: [late, own], added: [] });
  mesh.publish();
  mesh.add({ removed: [], added: [own] });
  mesh.add({ removed: [own], added: [] });
  mesh.add({ removed: [], added: [own] });
  mesh.publish();
  mesh.publish();
  t.same(published.map(names), [
    ['+Kubernetes//Pod/demo/x'],
    ['-Kubernetes//Pod/demo/x'],
    ['+Kubernetes//Pod/demo/x'],
    [],
  ]);
  t.equal(mesh.snapshot.workloads.size, 1);
  t.equal(mesh.snapshot.places('a', 'demo', 'web'), true);
});

t.test('what counts for the mesh goes out by itself, and that it is gone', async (t) => {
  const published: Publication[] = [];
  const ads = new AdsServer({ log: createLog('test', 'silent'), callerOf: () => undefined });
  ads.publish = (publication) => published.push(publication);
  const mesh = new MeshPublisher('cluster.local', ads);
  const config = (sameNode: 'direct' | 'tunnel') =>
    ({ kind: 'MeshConfig', value: { name: 'default', sameNode } }) as const;
  const [first, second] = [config('tunnel'), config('direct')];
  mesh.publish();
  mesh.add({ removed: [], added: [first] });
  mesh.publish();
  mesh.add({ removed: [first], added: [second] });
  mesh.publish();
  mesh.add({ removed: [second], added: [] });
  mesh.publish();
  const seen = published.map(({ [typeUrls.meshConfig]: change }) => [
    change?.changed.map(({ name }) => name),
    change?.removed,
  ]);
  t.same(seen, [
    [[], []],
    [['default'], []],
    [['default'], []],
    [[], ['default']],
  ]);
});
