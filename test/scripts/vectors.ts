// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { convert, derOf } from '../../scripts/vectors.ts';

const ones = 'ff'.repeat(32);
const seven = '7'.padStart(64, '0');
const json = (tests: readonly object[], publicKey?: object): string =>
  JSON.stringify({ testGroups: [{ publicKey, tests }] });

t.test('a signature in strict DER is two numbers', async (t) => {
  t.equal(derOf('3006020107020107'), `${seven} ${seven}`);
  t.equal(derOf(`3026022100${ones}020107`), `${ones} ${seven}`);
  for (const other of [
    ...['', '30', '3006020107020107ff', '3007020107020107', '3006020107020187'],
    ...['300702020007020107', '308106020107020107', '3006020107030107', '3003020107'],
    ...['30050201070200', `302802230100${ones}020107`, '3009020107020107020107'],
  ]) {
    t.equal(derOf(other), undefined, other);
  }
});

t.test('tests become lines, and what has no place in one is counted', async (t) => {
  const key = { uncompressed: `04${ones}${ones}` };
  const tests = [
    { tcId: 1, result: 'valid', msg: '', sig: '3006020107020107' },
    { tcId: 2, result: 'invalid', msg: '', sig: '3006020107020107' },
    { tcId: 3, result: 'invalid', msg: '', sig: '300602010702' },
  ];
  const digest = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
  t.same(convert('ecdsa_secp256r1_sha256_test', json(tests, key)), {
    lines: [
      `ecdsa-verify ecdsa/1 ${digest} ${seven} ${seven} ${ones} ${ones} accept`,
      `ecdsa-verify ecdsa/2 ${digest} ${seven} ${seven} ${ones} ${ones} refuse`,
    ],
    left: 1,
  });
});

t.test('a point is uncompressed, and a private key has its zeros', async (t) => {
  const point = { public: `04${ones}${ones}`, private: '007', shared: ones };
  const tests = [
    { tcId: 1, result: 'valid', ...point },
    { tcId: 2, result: 'invalid', ...point },
    { tcId: 3, result: 'acceptable', ...point },
    { tcId: 4, result: 'valid', ...point, public: `02${ones}` },
  ];
  const start = `${seven} ${ones} ${ones}`;
  t.same(convert('ecdh_secp256r1_ecpoint_test', json(tests)), {
    lines: [
      `p256-derive ecdh-ecpoint/1 ${start} ${ones} accept`,
      `p256-derive ecdh-ecpoint/2 ${start} ${'0'.repeat(64)} refuse`,
    ],
    left: 2,
  });
});

t.test('X25519 refuses a shared secret of zeros alone', async (t) => {
  const tests = ['0'.repeat(64), ones].map((shared, i) => ({
    ...{ tcId: i + 1, result: 'acceptable', public: ones, private: ones },
    shared,
  }));
  const { lines } = convert('x25519_test', json(tests));
  t.match(lines, [/ 0{64} refuse$/, / f{64} accept$/]);
});
