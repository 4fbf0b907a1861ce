// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { meshOf, variantsMax } from '../../../src/bench/mesh.ts';
import { entryFiles } from '../../../src/bench/studies/propagation.ts';
import { allVariants } from '../../../src/bench/variants/all.ts';
import { ends, nodeOf, podOf } from '../../../src/bench/variants/variant.ts';
import { weft } from '../../../src/bench/variants/weft.ts';
import { readPods } from '../../../src/lab/mesh-files.ts';
import { checkFolder } from '../../../src/registry/check-folder.ts';

t.test('every variant has the same pods at the same places', async (t) => {
  const folder = join(t.testdir(), 'mesh');
  mkdirSync(folder);
  writeFileSync(join(folder, 'mesh.yaml'), meshOf(allVariants));
  t.same(await checkFolder(folder), []);
  const pods = readPods(folder);
  t.equal(pods.length, allVariants.length * ends.length);
  t.equal(new Set(pods.flatMap(({ addresses }) => addresses)).size, 2 * pods.length);
  for (const variant of allVariants) {
    for (const end of ends) {
      const pod = pods.find(({ name }) => name === podOf(variant, end));
      t.match(pod, { node: nodeOf[end], enrolled: variant.meshed });
    }
  }
});

t.test('there is room for no more variants than addresses', async (t) => {
  t.ok(meshOf(Array.from({ length: variantsMax }, () => weft)));
  t.throws(() => meshOf(Array.from({ length: variantsMax + 1 }, () => weft)), RangeError);
});

t.test('a mesh can be filled with workloads that only exist, and a pod labelled', async (t) => {
  const folder = join(t.testdir(), 'mesh');
  mkdirSync(folder);
  const labels = { [podOf(weft, 'server')]: { closed: 'yes' } };
  const files = { ...entryFiles(300), 'mesh.yaml': meshOf([weft], labels) };
  for (const [name, text] of Object.entries(files)) {
    writeFileSync(join(folder, name), text);
  }
  t.same(await checkFolder(folder), []);
  t.equal(
    Object.values(files)
      .join('')
      .match(/kind: WorkloadEntry/g)?.length,
    300,
  );
  t.match(files['mesh.yaml'], 'closed: yes');
});
