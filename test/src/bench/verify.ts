// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { checkProof, handshakeOf } from '../../../src/bench/verify.ts';

const said = `CONNECTED(00000003)
New, TLSv1.3, Cipher is TLS_AES_128_GCM_SHA256
X509v3 Subject Alternative Name: critical
    URI:spiffe://cluster.local/ns/bench/sa/haproxy-server
`;

t.test('reads certificate and version from what openssl prints', async (t) => {
  t.strictSame(handshakeOf(said), {
    peer: 'spiffe://cluster.local/ns/bench/sa/haproxy-server',
    tls: 'TLSv1.3',
  });
  t.strictSame(handshakeOf('CONNECTED(00000003)\nNew, (NONE), Cipher is (NONE)\n'), {});
});

t.test('whoever should encrypt has to be seen doing so', async (t) => {
  const good = { variant: 'haproxy', requests: 4, readable: 0, ...handshakeOf(said) };
  t.doesNotThrow(() => checkProof(good, true));
  for (const bad of [
    { ...good, readable: 1 },
    { ...good, tls: 'TLSv1.2' },
    { variant: 'haproxy', requests: 4, readable: 0, tls: 'TLSv1.3' },
  ]) {
    t.throws(() => checkProof(bad, true), { code: 'internal' });
  }
});

t.test('the detector has to see all that the bare link carries', async (t) => {
  t.doesNotThrow(() => checkProof({ variant: 'bare', requests: 4, readable: 4 }, false));
  t.throws(() => checkProof({ variant: 'bare', requests: 4, readable: 3 }, false), {
    message: /3 of 4 requests readable/,
  });
});
