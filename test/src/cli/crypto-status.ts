// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { cryptoStatusTables } from '../../../src/cli/crypto-status.ts';
import { statusOf } from '../../support/fake-admin.ts';

const none = { lanes: [0, 0, 0, 0, 0, 0, 0, 0], scalar: 0, laneSeconds: 0, scalarSeconds: 0 };

t.test('operations are shown with how full lanes were, and what each took either way', (t) => {
  const text = cryptoStatusTables([statusOf('a')]);
  t.match(text, /^a +avx512 +ecdsa_verify +23 +10\.0 us +2 +50\.0 us +7\.7 +7: 1, 8: 2$/m);
  t.notMatch(text, /ecdsa_sign/);
  t.notMatch(text, /^a +(steps|key)/m);
  t.end();
});

t.test('what was done one way only has no times of the other', (t) => {
  const operations = {
    x25519_derive: { ...none, scalar: 4, scalarSeconds: 0.0001 },
    x25519_keygen: { ...none, lanes: [0, 0, 5, 0, 0, 0, 0, 0], laneSeconds: 0.00015 },
  };
  const crypto = { mode: 'avx512' as const, operations, inlined: 3, keyShares: 16 };
  const text = cryptoStatusTables([statusOf('b', { crypto })]);
  t.match(text, /^b +avx512 +x25519_derive +0 +4 +25\.0 us$/m);
  t.match(text, /^b +avx512 +x25519_keygen +15 +10\.0 us +0 +3\.0 +3: 5$/m);
  t.match(text, /^b +steps that found no fiber +3$/m);
  t.match(text, /^b +key shares made before +16$/m);
  t.end();
});
