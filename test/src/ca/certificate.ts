// SPDX-License-Identifier: Apache-2.0
// Judged by OpenSSL and by Node. Leaves and chains as they are issued: test/src/ca/authority.ts.
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto';
import t from 'tap';
import {
  backdateSeconds,
  mayIssue,
  pathLengthOf,
  type Signer,
  signAuthority,
  signerOf,
  signLeaf,
} from '../../../src/ca/certificate.ts';

const notBefore = new Date('2030-01-01T00:00:00Z');
const notAfter = new Date('2050-01-01T00:00:00Z');
const names = { uri: 'spiffe://td/ns/a/sa/b' };

function ecKey(namedCurve = 'P-256'): KeyObject {
  return generateKeyPairSync('ec', { namedCurve }).privateKey;
}

function rsaKey(modulusLength: number): KeyObject {
  return generateKeyPairSync('rsa', { modulusLength }).privateKey;
}

function root(key = ecKey(), pathLength?: number): Signer {
  const uri = 'spiffe://td';
  const limit = pathLength === undefined ? {} : { pathLength };
  return signAuthority({ commonName: 'test root', key, uri, notBefore, notAfter, ...limit });
}

function spki(): Buffer {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return publicKey.export({ format: 'der', type: 'spki' });
}

function textOf(certificate: X509Certificate): string {
  const options = { input: certificate.toString(), encoding: 'utf8' } as const;
  return execFileSync('openssl', ['x509', '-noout', '-text'], options);
}

t.test('each kind of key signs with the hash that fits it', (t) => {
  for (const [key, algorithm] of [
    [ecKey('P-256'), 'ecdsa-with-SHA256'],
    [ecKey('P-384'), 'ecdsa-with-SHA384'],
    [rsaKey(2048), 'sha256WithRSAEncryption'],
  ] as const) {
    const signer = root(key);
    const leaf = signLeaf({ spki: spki(), names, notBefore, notAfter }, signer);
    t.match(textOf(leaf), `Signature Algorithm: ${algorithm}`);
    t.ok(leaf.verify(signer.certificate.publicKey), algorithm);
    t.ok(leaf.checkIssued(signer.certificate), algorithm);
  }
  t.end();
});

t.test('weak keys and keys of other kinds do not sign', (t) => {
  const ed25519 = generateKeyPairSync('ed25519').privateKey;
  for (const key of [rsaKey(1024), ecKey('secp224r1'), ecKey('P-521'), ed25519]) {
    t.throws(() => root(key), { code: 'invalid' });
  }
  t.end();
});

t.test('a signer has a certificate and the key that belongs to it', (t) => {
  const { certificate, key } = root();
  t.throws(() => signerOf(certificate, ecKey()), { code: 'invalid', message: /does not belong/ });
  const again = signerOf(new X509Certificate(certificate.raw), key);
  const leaf = signLeaf({ spki: spki(), names, notBefore, notAfter }, again);
  t.ok(leaf.checkIssued(certificate));
  t.end();
});

t.test('key identifiers name each other along the path', (t) => {
  const top = root();
  const uri = 'spiffe://td';
  const key = ecKey();
  const between = signAuthority({ commonName: 'i', key, uri, notBefore, notAfter }, top);
  const ids = (certificate: X509Certificate) => {
    const text = textOf(certificate);
    const [, own] = /Subject Key Identifier:\s+(\S+)/.exec(text) ?? [];
    const [, issuer] = /Authority Key Identifier:\s+(\S+)/.exec(text) ?? [];
    return { own, issuer };
  };
  t.ok(ids(top.certificate).own);
  t.equal(ids(top.certificate).issuer, ids(top.certificate).own);
  t.equal(ids(between.certificate).issuer, ids(top.certificate).own);
  t.equal(
    ids(signLeaf({ spki: spki(), names, notBefore, notAfter }, between)).issuer,
    ids(between.certificate).own,
  );
  t.end();
});

t.test('times on both sides of 2050 are read as they were meant', (t) => {
  const { certificate } = root();
  t.same(certificate.validFromDate, notBefore);
  t.same(certificate.validToDate, notAfter);
  t.end();
});

t.test('what a certificate says of signing is read back', (t) => {
  t.equal(mayIssue(root().certificate), true);
  t.equal(pathLengthOf(root().certificate), Number.POSITIVE_INFINITY);
  t.equal(pathLengthOf(root(ecKey(), 0).certificate), 0);
  t.equal(pathLengthOf(root(ecKey(), 3).certificate), 3);
  const leaf = signLeaf({ spki: spki(), names, notBefore, notAfter }, root());
  t.equal(mayIssue(leaf), false);
  t.end();
});

t.test('a name that is no IP address is refused', (t) => {
  const wrong = { ...names, ipAddresses: ['host'] };
  t.throws(() => signLeaf({ spki: spki(), names: wrong, notBefore, notAfter }, root()), {
    code: 'invalid',
  });
  t.equal(backdateSeconds, 60, 'a clock may be 30 s behind, and the other as far ahead');
  t.end();
});
