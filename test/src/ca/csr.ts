// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import t from 'tap';
import { csrBytesMax, parseCsr } from '../../../src/ca/csr.ts';
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
