// SPDX-License-Identifier: Apache-2.0
import { statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { loadMeshConfig, saveMeshConfig } from '../../../src/cni/mesh-file.ts';

t.test('it comes back as it was saved, readable by its owner only', async (t) => {
  const path = join(t.testdir(), 'mesh.json');
  t.same(loadMeshConfig(path), {});
  saveMeshConfig(path, { sameNode: 'tunnel', capture: undefined });
  t.same(loadMeshConfig(path), { sameNode: 'tunnel' });
  t.equal(statSync(path).mode & 0o777, 0o600);
});

t.test('what is damaged is an error, and not nothing', async (t) => {
  for (const text of ['', '{"sameNode":"by air"}', '[]']) {
    const path = join(t.testdir({ 'mesh.json': text }), 'mesh.json');
    t.throws(() => loadMeshConfig(path), { code: 'invalid' });
  }
});
