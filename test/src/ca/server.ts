// SPDX-License-Identifier: Apache-2.0
// The service in a plain grpc-js server, seen by a plain grpc-js client. Who the caller is comes
// from the test here; test/src/control/main.ts has it from real TLS.
import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { Client, credentials, Metadata, Server, ServerCredentials, status } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { Authority } from '../../../src/ca/authority.ts';
import { JoinTokens, mintJoinToken } from '../../../src/ca/join-tokens.ts';
import { LeafLedger } from '../../../src/ca/leaf-ledger.ts';
import {
  CertificateServer,
  certificateService,
  reasonCharactersMax,
} from '../../../src/ca/server.ts';
import { certificateRequest, createCertificateMethod } from '../../../src/ca/wire.ts';
import { createLog } from '../../../src/lib/log.ts';
import { parseSpiffeId } from '../../../src/spiffe/id.ts';
import { makeRequest } from '../../support/certificate-requests.ts';

const nodeA = 'spiffe://td/node/a';
const web = 'spiffe://td/ns/demo/sa/web';
const callerSerial = '5e41a1';

interface Ask {
  readonly csrPem: string;
  readonly caller?: string;
  readonly token?: string;
  readonly impersonate?: string;
  readonly validitySeconds?: number;
}

type Answer =
  | { readonly leaf: X509Certificate; readonly chain: readonly string[] }
  | { readonly code: status; readonly details: string };

async function serve(t: Test) {
  const now = new Date();
  const state = join(t.testdir(), 'state');
  const ledger = await LeafLedger.open(state, now);
  t.teardown(() => ledger.close());
  const denied = new Set<string>();
  // Called when the node authorizer is asked, which is after the deny list.
  const events: { placing?: () => void } = {};
  const reasons: string[] = [];
  const log = createLog('test', 'info', {
    write: (line) => void reasons.push(String(JSON.parse(line).reason)),
  });
  const service = new CertificateServer({
    log,
    authority: await Authority.open(state, 'td', now),
    tokens: await JoinTokens.open(state, 'td', now),
    ledger,
    denies: (spiffeId, serial = '') => denied.has(spiffeId) || denied.has(serial),
    callerOf: (call) => {
      const id = parseSpiffeId(String(call.metadata.get('test-caller')[0] ?? ''));
      return id.ok ? { spiffeId: id.value, serial: callerSerial } : undefined;
    },
    places: (node, namespace, account) => {
      events.placing?.();
      return `${node} ${namespace} ${account}` === 'a demo web';
    },
    now: () => now,
  });
  const server = new Server();
  server.addService(certificateService, service.handlers);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  t.teardown(() => {
    client.close();
    server.forceShutdown();
  });
  const ask = ({ csrPem, caller, token, impersonate, validitySeconds = 600 }: Ask) => {
    const metadata = new Metadata();
    if (caller !== undefined) {
      metadata.set('test-caller', caller);
    }
    if (token !== undefined) {
      metadata.set('authorization', token);
    }
    const message = certificateRequest({
      csrPem,
      validitySeconds,
      ...(impersonate === undefined ? {} : { impersonatedIdentity: impersonate }),
    });
    const { path, requestSerialize, responseDeserialize } = createCertificateMethod;
    return new Promise<Answer>((resolve) => {
      client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        message,
        metadata,
        (error, value) => {
          const chain = value?.certChain ?? [];
          resolve(error ?? { leaf: new X509Certificate(chain[0] ?? ''), chain });
        },
      );
    });
  };
  const mint = (node: string, ttlSeconds = 60) =>
    mintJoinToken(state, { node, trustDomain: 'td', rootSha256: ['00'], ttlSeconds }, now);
  return { ask, denied, events, mint, now, reasons };
}

t.test('a node gets its own identity with a token, once', async (t) => {
  const { ask, mint, reasons } = await serve(t);
  const { csrPem } = await makeRequest(nodeA);
  const token = `Bearer ${await mint('a')}`;
  t.match(await ask({ csrPem, token }), { leaf: { subjectAltName: `URI:${nodeA}` } });
  t.match(await ask({ csrPem, token }), { code: status.UNAUTHENTICATED });
  t.match(reasons.at(-1), /was used before/);
});

t.test('a refusal does not use the token up', async (t) => {
  const { ask, mint } = await serve(t);
  const token = `Bearer ${await mint('a')}`;
  const wrong = await makeRequest('spiffe://td/node/b');
  t.match(await ask({ csrPem: wrong.csrPem, token }), { code: status.PERMISSION_DENIED });
  t.match(await ask({ csrPem: 'junk', token }), { code: status.INVALID_ARGUMENT });
  const { csrPem } = await makeRequest(nodeA);
  t.match(await ask({ csrPem, token }), { leaf: { subjectAltName: `URI:${nodeA}` } });
});

t.test('a caller with nothing to show is refused before its request is read', async (t) => {
  const { ask, mint, reasons } = await serve(t);
  const tokens = [undefined, '', 'Bearer', 'Bearer x', 'Basic eA==', await mint('a')];
  for (const token of tokens) {
    const answer = await ask({ csrPem: 'junk', ...(token === undefined ? {} : { token }) });
    t.match(answer, { code: status.UNAUTHENTICATED, details: 'the caller was not accepted' });
  }
  t.notMatch(reasons.join(), /certificate request/);
});

t.test('a node with a certificate renews it, and gets no other node', async (t) => {
  const { ask } = await serve(t);
  const own = await makeRequest(nodeA);
  const other = await makeRequest('spiffe://td/node/b');
  t.match(await ask({ csrPem: own.csrPem, caller: nodeA }), { leaf: {} });
  t.match(await ask({ csrPem: other.csrPem, caller: nodeA }), { code: status.PERMISSION_DENIED });
});

t.test('a node gets the workloads that are placed on it and no others', async (t) => {
  const { ask, reasons } = await serve(t);
  const get = async (identity: string, caller: string, impersonate = identity) =>
    ask({ csrPem: (await makeRequest(identity)).csrPem, caller, impersonate });

  t.match(await get(web, nodeA), { leaf: { subjectAltName: `URI:${web}` } });
  const denied = { code: status.PERMISSION_DENIED, details: 'the identity was not granted' };
  const cases: [string, string, string, RegExp][] = [
    [web, 'spiffe://td/node/b', web, /no workload of .*web is placed on node b/],
    ['spiffe://td/ns/demo/sa/db', nodeA, 'spiffe://td/ns/demo/sa/db', /is placed on node a/],
    ['spiffe://other/ns/demo/sa/web', nodeA, 'spiffe://other/ns/demo/sa/web', /placed/],
    ['spiffe://td/ns/demo/sa/db', nodeA, web, /in the name of/],
    [nodeA, nodeA, nodeA, /no workload's identity/],
    [web, nodeA, 'junk', /no workload's identity/],
    [web, web, web, /is not a node/],
    [web, 'spiffe://other/node/a', web, /is not a node/],
  ];
  for (const [identity, caller, impersonate, reason] of cases) {
    t.match(await get(identity, caller, impersonate), denied, `${caller} ${impersonate}`);
    t.match(reasons.at(-1), reason);
  }
});

t.test("a workload's identity is not for a join token", async (t) => {
  const { ask, mint } = await serve(t);
  const { csrPem } = await makeRequest(web);
  const token = `Bearer ${await mint('a')}`;
  const answer = await ask({ csrPem, token, impersonate: web });
  t.match(answer, { code: status.PERMISSION_DENIED });
  t.match(await ask({ csrPem, token }), { code: status.PERMISSION_DENIED });
});

t.test('what a caller sends in place of an identity does not fill the log', async (t) => {
  const { ask, reasons } = await serve(t);
  const { csrPem } = await makeRequest(nodeA);
  const impersonate = 'x'.repeat(50_000);
  t.match(await ask({ csrPem, caller: nodeA, impersonate }), { code: status.PERMISSION_DENIED });
  t.equal(reasons.at(-1)?.length, reasonCharactersMax);
});

t.test('weak keys and further names are refused, without saying why', async (t) => {
  const { ask, reasons } = await serve(t);
  const url = { type: 'url', value: web } as const;
  const requests = [
    await makeRequest(web, 'rsa1024'),
    await makeRequest(web, 'p384'),
    await makeRequest([url, { type: 'dns', value: 'bank.example' }]),
    await makeRequest([url, { type: 'url', value: nodeA }]),
  ];
  for (const { csrPem } of requests) {
    const answer = await ask({ csrPem, caller: nodeA, impersonate: web });
    t.match(answer, {
      code: status.INVALID_ARGUMENT,
      details: 'the certificate request was not accepted',
    });
    t.match(reasons.at(-1), /^node a: certificate request: /);
  }
});

t.test('an identity on the deny list gets no certificate', async (t) => {
  const { ask, denied, reasons } = await serve(t);
  const own = await makeRequest(nodeA);
  const workload = await makeRequest(web);
  denied.add(web);
  const asked = { csrPem: workload.csrPem, caller: nodeA, impersonate: web };
  t.match(await ask(asked), {
    code: status.PERMISSION_DENIED,
    details: 'the identity was not granted',
  });
  t.match(reasons.at(-1), /web is on the deny list/);
  t.match(await ask({ csrPem: own.csrPem, caller: nodeA }), { leaf: {} }, 'others do');
  denied.add(nodeA);
  t.match(await ask({ csrPem: own.csrPem, caller: nodeA }), { code: status.PERMISSION_DENIED });
});

t.test('a caller on the deny list gets nothing, by its identity or its certificate', async (t) => {
  const { ask, denied, mint, reasons } = await serve(t);
  const own = await makeRequest(nodeA);
  const workload = await makeRequest(web);
  const token = `Bearer ${await mint('a')}`;
  const calls: readonly [string, Ask][] = [
    ['renewal', { csrPem: own.csrPem, caller: nodeA }],
    ['a workload on the node', { csrPem: workload.csrPem, caller: nodeA, impersonate: web }],
    ['before its request is read', { csrPem: 'junk', caller: nodeA }],
  ];
  for (const entry of [nodeA, callerSerial]) {
    denied.add(entry);
    for (const [name, call] of calls) {
      t.match(
        await ask(call),
        { code: status.PERMISSION_DENIED, details: 'the identity was not granted' },
        `${entry}: ${name}`,
      );
      t.match(reasons.at(-1), /caller node a, by certificate 5e41a1, is on the deny list/);
    }
    denied.delete(entry);
  }
  denied.add(nodeA);
  t.match(await ask({ csrPem: 'junk', token }), { code: status.PERMISSION_DENIED });
  t.match(reasons.at(-1), /caller node a, by a join token, is on the deny list/);
  denied.clear();
  t.match(await ask({ csrPem: own.csrPem, token }), { leaf: {} }, 'the token was not used up');
});

t.test('what is denied while it is being issued is not handed out', async (t) => {
  const { ask, denied, events, reasons } = await serve(t);
  const { csrPem } = await makeRequest(web);
  for (const entry of [web, nodeA, callerSerial]) {
    events.placing = () => void denied.add(entry);
    const answer = await ask({ csrPem, caller: nodeA, impersonate: web });
    t.match(answer, { code: status.PERMISSION_DENIED }, entry);
    t.match(reasons.at(-1), /on the deny list/);
    denied.clear();
  }
});

t.test('the validity asked for is clamped', async (t) => {
  const { ask, now } = await serve(t);
  const { csrPem } = await makeRequest(web);
  for (const [asked, given] of [
    [1, 60],
    [600, 600],
    [1e9, 86_400],
    [0, 86_400],
  ] as const) {
    const answer = await ask({ csrPem, caller: nodeA, impersonate: web, validitySeconds: asked });
    const seconds = 'leaf' in answer ? answer.leaf.validToDate.getTime() / 1000 : 0;
    t.equal(seconds, Math.floor(now.getTime() / 1000) + given, `asked for ${asked}`);
  }
});
