// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { schemaFolders } from '../../scripts/gen.ts';

t.test('each folder with schemas is found once', async (t) => {
  const folder = t.testdir({
    native: { proto: { 'a.proto': '', 'b.proto': '' } },
    src: { xds: { proto: { 'c.proto': '' } }, lib: { 'error.ts': '' }, ca: { proto: {} } },
  });
  t.same(schemaFolders(folder), ['native', 'src/xds']);
});
