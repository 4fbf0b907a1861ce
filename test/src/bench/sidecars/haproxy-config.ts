// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { haproxySidecar } from '../../../../src/bench/sidecars/haproxy-config.ts';

const files = { chainFile: '/c', keyFile: '/k', bundleFile: '/b.pem', rootFile: '/r.pem' };

t.test('each end verifies the other, in TLS 1.3, with no session kept', async (t) => {
  const text = haproxySidecar(files, false);
  const tls = /ssl crt \/b\.pem ca-file \/r\.pem verify required ssl-min-ver TLSv1\.3/g;
  t.equal(text.match(tls)?.length, 2);
  t.match(text, /backend peer\n {2}server original 0\.0\.0\.0:0 ssl .* no-ssl-reuse/);
  t.match(text, /bind 0\.0\.0\.0:15006 ssl .* no-tls-tickets/);
  t.match(text, / tune\.ssl\.cachesize 0\n/);
});

t.test('sessions are kept as they are by default', async (t) => {
  const text = haproxySidecar(files, true);
  t.notMatch(text, /no-ssl-reuse|no-tls-tickets|cachesize/);
  t.match(text, /verify required/);
});
