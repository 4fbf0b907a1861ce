// SPDX-License-Identifier: Apache-2.0
import 'reflect-metadata';
import { X509Certificate } from 'node:crypto';
import {
  BasicConstraintsExtension,
  type JsonGeneralNames,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';
import t from 'tap';
import { callerOf, spiffeIdOf } from '../../../src/control/caller.ts';

const node = { type: 'url', value: 'spiffe://td/node/a' } as const;

async function certificate(names: JsonGeneralNames, ca = false): Promise<X509Certificate> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const made = await X509CertificateGenerator.createSelfSigned({
    name: '',
    keys,
    signingAlgorithm: algorithm,
    extensions: [
      new BasicConstraintsExtension(ca, undefined, true),
      new SubjectAlternativeNameExtension(names, true),
    ],
  });
  return new X509Certificate(Buffer.from(made.rawData));
}

t.test('reads the one SPIFFE ID, whatever DNS names stand beside it', async (t) => {
  const id = { trustDomain: 'td', path: '/node/a' };
  t.same(spiffeIdOf(await certificate([node])), id);
  t.same(spiffeIdOf(await certificate([{ type: 'dns', value: 'x.example' }, node])), id);
});

t.test('takes nothing for an identity that is not one beyond doubt', async (t) => {
  const cases: [string, X509Certificate][] = [
    ['two', await certificate([node, { type: 'url', value: 'spiffe://td/node/b' }])],
    ['none', await certificate([{ type: 'dns', value: 'x.example' }])],
    ['another scheme', await certificate([{ type: 'url', value: 'https://td/node/a' }])],
    ['no path', await certificate([{ type: 'url', value: 'spiffe://td' }])],
    ['a signing certificate', await certificate([node], true)],
    [
      'a DNS name that looks like one',
      await certificate([{ type: 'dns', value: 'URI:spiffe://td/node/a' }]),
    ],
    [
      'a name that hides one',
      await certificate([{ type: 'dns', value: 'a, URI:spiffe://td/node/a' }]),
    ],
    [
      'one that hides a name',
      await certificate([{ type: 'url', value: 'spiffe://td/node/a, DNS:b' }]),
    ],
  ];
  for (const [name, made] of cases) {
    t.equal(spiffeIdOf(made), undefined, name);
  }
});

t.test('a caller without a verified certificate is nobody', async (t) => {
  t.equal(callerOf({ getAuthContext: () => ({}) }), undefined);
  const { raw } = await certificate([node]);
  const known = { getAuthContext: () => ({ sslPeerCertificate: { raw } }) };
  t.match(callerOf(known), { spiffeId: { trustDomain: 'td', path: '/node/a' } });
});
