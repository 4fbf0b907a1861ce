// SPDX-License-Identifier: Apache-2.0
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client, credentials, ServerCredentials, status } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { SvidFolder } from '../../../../src/bench/sidecars/svid-files.ts';
import { certificateServer } from '../../../../src/bench/ztunnel/ca.ts';
import { Authority } from '../../../../src/ca/authority.ts';
import {
  certificateRequest,
  createCertificateMethod,
  type IstioCertificateResponse,
} from '../../../../src/ca/wire.ts';
import { makeRequest } from '../../../support/certificate-requests.ts';

const id = 'spiffe://cluster.local/ns/ztunnel/sa/client';

// As a proxy reaches it: in TLS that the same root vouches for.
async function serve(t: Test) {
  const folder = join(t.testdir(), 'svids');
  const own = await (await SvidFolder.open(folder)).issue('ca', ['127.0.0.1']);
  const authority = await Authority.open(join(folder, 'authority'), 'cluster.local', new Date());
  const server = certificateServer(authority);
  const pair = { cert_chain: readFileSync(own.chainFile), private_key: readFileSync(own.keyFile) };
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createSsl(null, [pair]), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  const root = readFileSync(own.rootFile);
  // This client can have no address for a name, so it looks at the chain alone.
  const ssl = credentials.createSsl(root, null, null, { checkServerIdentity: () => undefined });
  const override = { 'grpc.ssl_target_name_override': 'ca' };
  const client = new Client(`127.0.0.1:${port}`, ssl, override);
  t.teardown(() => {
    client.close();
    server.forceShutdown();
  });
  const { path, requestSerialize, responseDeserialize } = createCertificateMethod;
  const ask = (csrPem: string) =>
    new Promise<IstioCertificateResponse>((resolve, reject) => {
      const message = certificateRequest({ csrPem, validitySeconds: 600 });
      client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        message,
        (error, answer) => (answer === undefined ? reject(error) : resolve(answer)),
      );
    });
  return { ask, root: root.toString() };
}

t.test('whoever asks gets the identity that his request names', async (t) => {
  const { ask, root } = await serve(t);
  const { csrPem } = await makeRequest(id);
  const { certChain } = await ask(csrPem);
  t.equal(new X509Certificate(certChain[0] ?? '').subjectAltName, `URI:${id}`);
  t.equal(certChain.at(-1), root);
});

t.test('what is no request is told apart', async (t) => {
  const { ask } = await serve(t);
  await t.rejects(ask('nothing'), { code: status.INVALID_ARGUMENT });
});
