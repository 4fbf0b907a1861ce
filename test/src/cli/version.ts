// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { versions } from '../../../src/cli/version.ts';

t.test('the versions of the engine’s libraries are its own, not node’s', async (t) => {
  const seen = await versions();
  t.equal(seen['node'], process.versions.node);
  t.match(seen['tls'], /^AWS-LC /);
  t.not(seen['nghttp2'], process.versions['nghttp2']);
});
