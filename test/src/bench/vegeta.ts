// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { vegetaPath, vegetaVersion } from '../../../src/bench/vegeta.ts';

t.test('is kept in the cache, by version', async (t) => {
  const path = vegetaPath({ XDG_CACHE_HOME: '/cache' });
  t.equal(path, `/cache/weft/vegeta-${vegetaVersion}/vegeta`);
});

t.test('the version is the one that the module pins', async (t) => {
  const module = join(import.meta.dirname, '../../../bench/vegeta/go.mod');
  t.match(readFileSync(module, 'utf8'), `github.com/tsenart/vegeta/v12 v${vegetaVersion}\n`);
});
