// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { MeshPublisher } from '../../../src/control/mesh-publisher.ts';
import { createLog } from '../../../src/lib/log.ts';
import { AdsServer, type Publication } from '../../../src/xds/server.ts';
import { typeUrls } from '../../../src/xds/wire.ts';
import { meshOf, pod } from '../../support/mesh-objects.ts';

t.test('only objects that are others than before go on', async (t) => {
  const published: Publication[] = [];
  const log = createLog('test', 'silent');
  const ads = new AdsServer({ log, callerOf: () => undefined });
  ads.publish = (publication) => published.push(publication);
  const mesh = new MeshPublisher('cluster.local', ads);
  const [x, y] = [pod(), pod({ name: 'y', addresses: [] })];
  const objects = meshOf({ Pod: [x, y] });
  t.same(mesh.publish(objects), { workloads: 1, services: 0, policies: 1 });
  mesh.publish([...objects]);
  const names = ({ [typeUrls.address]: change }: Publication) => [
    ...(change?.changed ?? []).map(({ name }) => `+${name}`),
    ...(change?.removed ?? []).map((name) => `-${name}`),
  ];
  t.same(published.map(names), [['+Kubernetes//Pod/demo/x'], []]);
  mesh.publish(objects.filter(({ value }) => value !== x));
  t.same(names(published[2] ?? {}), ['-Kubernetes//Pod/demo/x']);
  t.equal(mesh.snapshot.workloads.size, 0);
  t.equal(mesh.snapshot.places('a', 'demo', 'web'), false);
});
