// SPDX-License-Identifier: Apache-2.0
// What bad input the certificate service gets, row by row, from a real control plane process: the
// answer says nothing of the reason, and the log says all of it.
import { execFileSync } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { mintJoinToken } from '../../../src/ca/join-tokens.ts';
import { join as joinMesh, parseJoinToken } from '../../../ztunnel/join.ts';
import { type KeyKind, makeRequest } from '../../support/certificate-requests.ts';
import { type CallOptions, ControlProcess } from '../../support/control-process.ts';

const base = `
apiVersion: v1
kind: List
items:
  - {apiVersion: v1, kind: Namespace, metadata: {name: demo, labels: {istio.io/dataplane-mode: ambient}}}
  - {apiVersion: v1, kind: Node, metadata: {name: a}}
  - {apiVersion: v1, kind: Node, metadata: {name: b}}
  - {apiVersion: v1, kind: ServiceAccount, metadata: {name: web, namespace: demo}}
  - {apiVersion: v1, kind: ServiceAccount, metadata: {name: api, namespace: demo}}
  - apiVersion: v1
    kind: Pod
    metadata: {name: web, namespace: demo}
    spec: {nodeName: a, serviceAccountName: web}
    status: {podIP: 10.77.1.2}
  - apiVersion: v1
    kind: Pod
    metadata: {name: api, namespace: demo}
    spec: {nodeName: b, serviceAccountName: api}
    status: {podIP: 10.77.2.2}
`;

const nodeA = 'spiffe://cluster.local/node/a';
const web = 'spiffe://cluster.local/ns/demo/sa/web';
const api = 'spiffe://cluster.local/ns/demo/sa/api';

const unknown = { code: status.UNAUTHENTICATED, details: 'the caller was not accepted' };
const denied = { code: status.PERMISSION_DENIED, details: 'the identity was not granted' };
const invalid = {
  code: status.INVALID_ARGUMENT,
  details: 'the certificate request was not accepted',
};

async function start(t: Test, name: string): Promise<ControlProcess> {
  const folder = t.testdir({ config: { 'base.yaml': base } });
  return await ControlProcess.start(t, {
    config: join(folder, 'config'),
    state: join(folder, name),
  });
}

const rootHash = (pem: string): string =>
  createHash('sha256').update(new X509Certificate(pem).raw).digest('hex');

t.test('bad input of the certificate service', async (t) => {
  const control = await start(t, 'state');
  const order = {
    node: 'a',
    trustDomain: 'cluster.local',
    rootSha256: [rootHash(control.rootPem)],
    ttlSeconds: 60,
  };
  let seen = 0;
  /** Asks, and expects this answer to the caller and this reason in the log. */
  const refused = async (
    t: Test,
    csrPem: string,
    options: CallOptions,
    answer: object,
    reason: RegExp,
  ): Promise<void> => {
    const from = seen;
    t.match(await control.certify(csrPem, options), answer);
    const record = await control.record(
      (each) => each['msg'] === 'certificate refused' && control.records.indexOf(each) >= from,
    );
    seen = control.records.indexOf(record) + 1;
    t.match(record['reason'], reason);
  };
  const own = await makeRequest(nodeA);
  const identity = await control.join('a');

  await t.test('a join token that has expired', async (t) => {
    const token = await mintJoinToken(control.state, order, new Date(Date.now() - 120_000));
    await refused(t, own.csrPem, { token }, unknown, /join token: .*exp/);
  });

  await t.test('a join token that is used twice', async (t) => {
    const token = await control.token('a');
    t.ok(Array.isArray(await control.certify(own.csrPem, { token })));
    await refused(t, own.csrPem, { token }, unknown, /of node a was used before/);
  });

  await t.test('a join token of another node', async (t) => {
    const token = await control.token('b');
    const reason = /node b asked for spiffe:\/\/cluster.local\/node\/a/;
    await refused(t, own.csrPem, { token }, denied, reason);
  });

  await t.test('a join token that another key signed', async (t) => {
    const other = await start(t, 'other');
    const token = await mintJoinToken(other.state, order, new Date());
    await refused(t, own.csrPem, { token }, unknown, /join token: signature verification failed/);
  });

  await t.test('a join token with a wrong root hash: the node does not send it', async (t) => {
    const wrong = { ...order, rootSha256: ['ab'.repeat(32)] };
    const token = parseJoinToken(await mintJoinToken(control.state, wrong, new Date()));
    if (!token.ok) {
      throw token.error;
    }
    const before = control.records.length;
    await t.rejects(joinMesh(`127.0.0.1:${control.port}`, token.value), {
      code: 'denied',
      message: /another root than the join token/,
    });
    const after = control.records.slice(before).map(({ msg }) => msg);
    t.notOk(after.includes('certificate refused') || after.includes('certificate issued'));
  });

  await t.test('a request for an identity that is not on the node', async (t) => {
    const { csrPem } = await makeRequest(api);
    const options = { identity, impersonate: api };
    await refused(t, csrPem, options, denied, /no workload of .*api is placed on node a/);
  });

  await t.test('a request for another identity than it names', async (t) => {
    const { csrPem } = await makeRequest(api);
    await refused(t, csrPem, { identity, impersonate: web }, denied, /in the name of .*web/);
  });

  await t.test('a request with further names', async (t) => {
    const url = { type: 'url', value: web } as const;
    const further = [
      { type: 'dns', value: 'bank.example' },
      { type: 'ip', value: '10.0.0.1' },
      { type: 'url', value: api },
    ] as const;
    for (const name of further) {
      const { csrPem } = await makeRequest([url, name]);
      const reason = /the only subject alternative name must be a SPIFFE ID/;
      await refused(t, csrPem, { identity, impersonate: web }, invalid, reason);
    }
  });

  await t.test('a request by a weak key, or one of another kind', async (t) => {
    const kinds: KeyKind[] = ['rsa1024', 'p384', 'ed25519'];
    const requests = await Promise.all(kinds.map((kind) => makeRequest(web, kind)));
    const options = { identity, impersonate: web };
    for (const { csrPem } of requests) {
      await refused(t, csrPem, options, invalid, /the key is not P-256/);
    }
    const args = ['req', '-new', '-nodes', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-224'];
    const names = ['-subj', '/', '-keyout', '/dev/null', '-addext', `subjectAltName=URI:${web}`];
    const p224 = execFileSync('openssl', [...args, ...names], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    await refused(t, p224, options, invalid, /node a: certificate request/);
  });

  await t.test('a request for an identity on the deny list', async (t) => {
    const { csrPem } = await makeRequest(web);
    const options = { identity, impersonate: web };
    t.ok(Array.isArray(await control.certify(csrPem, options)));
    const list = `{apiVersion: weft.dev/v1alpha1, kind: DenyList, metadata: {name: lost}, spec: {identities: ["${web}"]}}`;
    writeFileSync(join(control.config, 'deny.yaml'), list);
    const snapshots = () => control.records.filter(({ msg }) => msg === 'snapshot').length;
    await control.record(() => snapshots() > 1);
    await refused(t, csrPem, options, denied, /web is on the deny list/);
  });
});
