// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { MeshFolder } from '../../../../src/bench/control/mesh.ts';
import { checkFolder } from '../../../../src/registry/check-folder.ts';

t.test('the manifests are right, at any size', async (t) => {
  for (const workloads of [1, 2, 101, 250]) {
    const folder = join(t.testdir(), String(workloads));
    const mesh = new MeshFolder(folder, { workloads, services: 1, nodes: 3 });
    t.same(await checkFolder(folder), [], `${workloads} workloads`);
    t.equal(mesh.resources, workloads + 2);
  }
});

t.test('a change is made by one rename, and is another each time', async (t) => {
  const folder = t.testdir();
  const mesh = new MeshFolder(folder, { workloads: 1, services: 1, nodes: 1 });
  const text = () => readFileSync(join(folder, 'changing.yaml'), 'utf8');
  const seen = new Set([text()]);
  for (let change = 0; change < 3; change += 1) {
    const make = mesh.prepareChange();
    t.ok(seen.has(text()), 'not made yet');
    make();
    seen.add(text());
  }
  t.equal(seen.size, 4);
  t.same(await checkFolder(folder), []);
});
