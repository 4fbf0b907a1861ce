// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, sign } from 'node:crypto';
import t from 'tap';
import { csrBytesMax, parseCsr } from '../../../src/ca/csr.ts';
import {
  bitString,
  context,
  integer,
  octetString,
  oid,
  sequence,
  set,
} from '../../../src/ca/der.ts';
import { type KeyKind, makeRequest } from '../../support/certificate-requests.ts';

const spiffeId = 'spiffe://cluster.local/ns/demo/sa/client';
const url = { type: 'url', value: spiffeId } as const;

t.test('takes a request for one SPIFFE ID by a P-256 key', async (t) => {
  const { csrPem } = await makeRequest(spiffeId);
  const result = await parseCsr(csrPem);
  t.match(result, {
    ok: true,
    value: { spiffeId: { trustDomain: 'cluster.local', path: '/ns/demo/sa/client' } },
  });
});

t.test("takes OpenSSL's request, and ignores its subject", async (t) => {
  const cwd = t.testdir();
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', 'k'];
  const names = ['-subj', '/CN=somebody', '-addext', `subjectAltName=URI:${spiffeId}`];
  const csr = execFileSync('openssl', ['req', '-new', ...key, ...names], {
    cwd,
    encoding: 'utf8',
    stdio: 'pipe',
  });
  t.equal((await parseCsr(csr)).ok, true);
});

t.test('refuses every other key', async (t) => {
  const kinds: KeyKind[] = ['p384', 'rsa1024', 'ed25519'];
  for (const kind of kinds) {
    const { csrPem } = await makeRequest(spiffeId, kind);
    const result = await parseCsr(csrPem);
    t.match(result, { ok: false, error: { code: 'invalid', message: /not P-256/ } }, kind);
  }
});

t.test('refuses any name beside the one', async (t) => {
  const lists = [
    [],
    [url, { type: 'url', value: 'spiffe://cluster.local/ns/demo/sa/other' }],
    [url, url],
    [url, { type: 'dns', value: 'web.demo' }],
    [url, { type: 'ip', value: '10.0.0.1' }],
    [{ type: 'dns', value: 'web.demo' }],
    [{ type: 'url', value: 'https://cluster.local/ns/a' }],
  ] as const;
  for (const names of lists) {
    const { csrPem } = await makeRequest([...names]);
    t.match(await parseCsr(csrPem), { ok: false, error: { code: 'invalid' } }, `${names.length}`);
  }
});

t.test('refuses a request that its key did not sign', async (t) => {
  const { csrPem } = await makeRequest(spiffeId);
  const der = Buffer.from(csrPem.replace(/-----[^-]+-----|\s/g, ''), 'base64');
  // The names are signed: another service account of the same length breaks the signature.
  const at = der.indexOf('sa/client');
  der.write('sa/attack', at);
  const forged = `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`;
  t.ok(at > 0);
  t.match(await parseCsr(forged), { ok: false, error: { message: /signature/ } });
});

t.test('refuses what is no request', async (t) => {
  const { csrPem } = await makeRequest(spiffeId);
  const inputs = [
    '',
    'x',
    csrPem + csrPem,
    csrPem.replaceAll('CERTIFICATE REQUEST', 'CERTIFICATE'),
    '-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n',
    csrPem.slice(0, csrPem.length / 2),
    csrPem + 'x'.repeat(csrBytesMax),
  ];
  for (const input of inputs) {
    t.match(await parseCsr(input), { ok: false, error: { code: 'invalid' } }, input.slice(0, 40));
  }
});

const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });

function pemOf(der: Uint8Array): string {
  const base64 = Buffer.from(der).toString('base64');
  return `-----BEGIN CERTIFICATE REQUEST-----\n${base64}\n-----END CERTIFICATE REQUEST-----\n`;
}

/** The value of an extensionRequest attribute that asks for these names, or for this SAN. */
function wish(names: Uint8Array): Buffer {
  return sequence(sequence(oid('2.5.29.17'), octetString(names)));
}

/** A request with one extensionRequest attribute that has these values, as they are. */
function requestWith(values: readonly Uint8Array[], hash = 'sha256'): Buffer {
  const attribute = sequence(oid('1.2.840.113549.1.9.14'), set(...values));
  const spki = publicKey.export({ format: 'der', type: 'spki' });
  const info = sequence(
    integer(Buffer.of(0)),
    sequence(),
    spki,
    context(0, 'constructed', attribute),
  );
  const algorithm = hash === 'sha1' ? '1.2.840.10045.4.1' : '1.2.840.10045.4.3.2';
  return sequence(info, sequence(oid(algorithm)), bitString(sign(hash, info, privateKey)));
}

const uri = context(6, 'primitive', Buffer.from(spiffeId));
const otherUri = context(6, 'primitive', Buffer.from('spiffe://cluster.local/ns/demo/sa/api'));

t.test('takes one that is made by hand', async (t) => {
  t.match(await parseCsr(pemOf(requestWith([wish(sequence(uri))]))), { ok: true });
});

t.test('refuses what another reader could read in another way', async (t) => {
  const good = requestWith([wish(sequence(uri))]);
  const longLength = Buffer.concat([Buffer.of(0x86, 0x81, spiffeId.length), Buffer.from(spiffeId)]);
  const requests: readonly [string, Buffer, RegExp][] = [
    ['a byte behind it', Buffer.concat([good, Buffer.of(0)]), /not DER/],
    ['another request behind it', Buffer.concat([good, good]), /not DER/],
    ['bytes behind the name', requestWith([wish(Buffer.concat([sequence(uri), uri]))]), /not DER/],
    ['a length that is not minimal', requestWith([wish(sequence(longLength))]), /not DER/],
    [
      'two values of one attribute',
      requestWith([wish(sequence(uri)), wish(sequence(otherUri))]),
      /not exactly one/,
    ],
    ['a signature with SHA-1', requestWith([wish(sequence(uri))], 'sha1'), /SHA-1/],
  ];
  for (const [what, der, message] of requests) {
    t.match(await parseCsr(pemOf(der)), { ok: false, error: { code: 'invalid', message } }, what);
  }
});
