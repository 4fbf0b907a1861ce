// SPDX-License-Identifier: Apache-2.0
// The real process, seen by plain gRPC clients over real TLS.
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { type Client, type ClientDuplexStream, status } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import {
  type Address,
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
  deltaMethod,
  deltaRequest,
  parseAddress,
  TunnelProtocol,
  typeUrls,
} from '../../../src/xds/wire.ts';
import { makeRequest } from '../../support/certificate-requests.ts';
import { ControlProcess, isLocked, runVerb } from '../../support/control-process.ts';

// Dozens of processes, one after the other: half a minute alone, two beside builds.
t.setTimeout(300_000);

const base = `
apiVersion: v1
kind: Namespace
metadata: {name: demo, labels: {istio.io/dataplane-mode: ambient}}
---
apiVersion: v1
kind: Node
metadata: {name: a}
---
apiVersion: v1
kind: Node
metadata: {name: b}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: client, namespace: demo}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: server, namespace: demo}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: demo}
spec:
  clusterIP: 10.77.240.1
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
`;

const podText = (name: string, node: string, ip: string) => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: demo, labels: {app: web}}
spec: {nodeName: ${node}, serviceAccountName: ${name}}
status: {podIP: ${ip}}
`;

const policyText = (principal: string) => `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: demo}
spec:
  selector: {matchLabels: {app: web}}
  rules: [{from: [{source: {principals: ["${principal}"]}}]}]
`;

const denyList = (spec: string) => `
apiVersion: weft.dev/v1alpha1
kind: DenyList
metadata: {name: lost}
spec: ${spec}
`;

const ids = {
  nodeA: 'spiffe://cluster.local/node/a',
  client: 'spiffe://cluster.local/ns/demo/sa/client',
  server: 'spiffe://cluster.local/ns/demo/sa/server',
};

async function start(t: Test): Promise<ControlProcess> {
  const folder = t.testdir({
    config: {
      'base.yaml': base,
      'client.yaml': podText('client', 'a', '10.77.1.2'),
      'server.yaml': podText('server', 'b', '10.77.2.2'),
    },
  });
  return ControlProcess.start(t, { config: join(folder, 'config'), state: join(folder, 'state') });
}

/** A delta stream whose responses are awaited one by one. */
class Stream {
  readonly raw: ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;
  readonly #client: Client;
  readonly #responses: AsyncIterator<DeltaDiscoveryResponse>;

  constructor(client: Client) {
    this.#client = client;
    const { path, requestSerialize, responseDeserialize } = deltaMethod;
    this.raw = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
    this.raw.on('error', () => {});
    this.#responses = this.raw[Symbol.asyncIterator]();
  }

  subscribe(typeUrl: string, initialResourceVersions: Record<string, string> = {}): void {
    this.raw.write(deltaRequest({ typeUrl, initialResourceVersions }));
  }

  async next(): Promise<DeltaDiscoveryResponse> {
    const { value } = await this.#responses.next();
    this.raw.write(deltaRequest({ typeUrl: value.typeUrl, responseNonce: value.nonce }));
    return value;
  }

  close(): void {
    this.raw.cancel();
    this.#client.close();
  }
}

const namesOf = (response: DeltaDiscoveryResponse) =>
  response.resources.map(({ name }) => name).sort();

function addressIn(response: DeltaDiscoveryResponse, name: string): Address {
  const found = response.resources.find((resource) => resource.name === name);
  const parsed = parseAddress(found?.resource?.value ?? new Uint8Array());
  if (!parsed.ok) {
    throw parsed.error;
  }
  return parsed.value;
}

t.test('a node joins once with its token, and then gets what is placed on it', async (t) => {
  const control = await start(t);
  const token = await control.token('a');
  const own = await makeRequest(ids.nodeA);

  t.match(
    await control.certify((await makeRequest(ids.nodeA.replace(/a$/, 'b'))).csrPem, { token }),
    { code: status.PERMISSION_DENIED },
    'another node than the token names',
  );
  const chain = await control.certify(own.csrPem, { token });
  t.equal(Array.isArray(chain) && chain.length, 3, 'leaf, intermediate and root');
  t.match(
    await control.certify(own.csrPem, { token }),
    { code: status.UNAUTHENTICATED },
    'a second use',
  );
  const chainPem = Array.isArray(chain) ? chain.slice(0, -1).join('') : '';
  const identity = { keyPem: own.keyPem, chainPem };
  const client = await makeRequest(ids.client);
  const server = await makeRequest(ids.server);
  t.ok(Array.isArray(await control.certify(own.csrPem, { identity })), 'renewal');
  t.ok(
    Array.isArray(await control.certify(client.csrPem, { identity, impersonate: ids.client })),
    'a workload on the node',
  );
  t.match(
    await control.certify(server.csrPem, { identity, impersonate: ids.server }),
    { code: status.PERMISSION_DENIED, details: 'the identity was not granted' },
    'a workload elsewhere',
  );
  t.match(
    await control.record(({ reason }) => String(reason).includes('is placed on node a')),
    { reason: /sa\/server/ },
    'the reason is in the log',
  );
});

t.test('a spent token stays spent after a restart', async (t) => {
  const first = await start(t);
  const token = await first.token('a');
  const { csrPem } = await makeRequest(ids.nodeA);
  t.ok(Array.isArray(await first.certify(csrPem, { token })));
  t.equal(await first.stop('SIGTERM'), 0);
  t.equal(isLocked(first.state), false);
  const second = await ControlProcess.start(t, first);
  t.equal(second.rootPem, first.rootPem, 'the same root');
  t.match(await second.certify(csrPem, { token }), { code: status.UNAUTHENTICATED });
});

t.test('a stream without a node certificate is refused', async (t) => {
  const control = await start(t);
  const stream = new Stream(control.client());
  stream.subscribe(typeUrls.address);
  const error = new Promise((resolve) => stream.raw.once('error', resolve));
  await t.rejects(stream.next());
  t.match(await error, { code: status.UNAUTHENTICATED });
  stream.close();
});

t.test('a node that is denied is cut off, by its name or its certificate', async (t) => {
  const control = await start(t);
  const identity = await control.join('a');
  const { csrPem } = await makeRequest(ids.nodeA);
  const client = await makeRequest(ids.client);
  const { serialNumber } = new X509Certificate(identity.chainPem);
  const file = join(control.config, 'deny.yaml');
  const refusal = { code: status.UNAUTHENTICATED, details: 'a node certificate is needed' };
  for (const spec of [`{identities: ["${ids.nodeA}"]}`, `{serials: ["${serialNumber}"]}`]) {
    const open = new Stream(control.client(identity));
    open.subscribe(typeUrls.address);
    await open.next();
    const error = once(open.raw, 'error');
    await writeFile(file, denyList(spec));
    t.match(await error, [refusal], `${spec}: the open stream`);
    const again = new Stream(control.client(identity));
    t.match(await once(again.raw, 'error'), [refusal], 'another');
    const denied = { code: status.PERMISSION_DENIED, details: 'the identity was not granted' };
    t.match(await control.certify(csrPem, { identity }), denied, 'renewal');
    const asked = { identity, impersonate: ids.client };
    t.match(await control.certify(client.csrPem, asked), denied, 'a workload placed on it');
    open.close();
    again.close();
    const snapshots = control.records.filter(({ msg }) => msg === 'snapshot').length;
    await rm(file);
    await control.record(
      ({ msg }) =>
        msg === 'snapshot' &&
        control.records.filter((record) => record['msg'] === 'snapshot').length > snapshots,
    );
  }
  t.ok(Array.isArray(await control.certify(csrPem, { identity })), 'off the list');
  await control.record(({ reason }) => String(reason).startsWith('caller node a, by certificate'));
});

t.test('a certificate of another authority is refused at the door', async (t) => {
  const control = await start(t);
  const other = await start(t);
  const stranger = await other.join('a');
  const { csrPem } = await makeRequest(ids.nodeA);
  t.match(await control.certify(csrPem, { identity: stranger }), { code: status.UNAVAILABLE });
  await control.record(({ msg }) => msg === 'client certificate refused');
});

t.test('only TLS 1.3 is spoken', async (t) => {
  const control = await start(t);
  const socket = connect({
    port: control.port,
    host: '127.0.0.1',
    maxVersion: 'TLSv1.2',
    rejectUnauthorized: false,
  });
  const error = await new Promise<Error>((resolve) => socket.once('error', resolve));
  t.match(error, { code: 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION' });
});

const strictPolicy = 'istio-system/istio_converted_static_strict';

t.test('the first answers hold the whole mesh, policies first', async (t) => {
  const control = await start(t);
  await writeFile(join(control.config, 'policy.yaml'), policyText('cluster.local/ns/x/sa/y'));
  await control.record(({ policies }) => policies === 2);
  const stream = new Stream(control.client(await control.join('a')));
  stream.subscribe(typeUrls.authorization);
  stream.subscribe(typeUrls.address);
  const policies = await stream.next();
  t.equal(policies.typeUrl, typeUrls.authorization);
  t.same(namesOf(policies), ['demo/p', strictPolicy]);
  const addresses = await stream.next();
  t.same(namesOf(addresses), [
    'Kubernetes//Pod/demo/client',
    'Kubernetes//Pod/demo/server',
    'demo/web.demo.svc.cluster.local',
  ]);
  t.match(addressIn(addresses, 'Kubernetes//Pod/demo/server').type, {
    case: 'workload',
    value: {
      name: 'server',
      node: 'b',
      serviceAccount: 'server',
      tunnelProtocol: TunnelProtocol.HBONE,
      authorizationPolicies: ['demo/p'],
      services: {
        'demo/web.demo.svc.cluster.local': { ports: [{ servicePort: 80, targetPort: 8080 }] },
      },
    },
  });
  stream.close();
});

t.test('an edit reaches the stream as just the change', async (t) => {
  const control = await start(t);
  const stream = new Stream(control.client(await control.join('a')));
  stream.subscribe(typeUrls.address);
  await stream.next();

  await writeFile(join(control.config, 'client.yaml'), podText('client', 'a', '10.77.1.9'));
  const changed = await stream.next();
  t.same(namesOf(changed), ['Kubernetes//Pod/demo/client']);
  t.same(changed.removedResources, []);

  await writeFile(join(control.config, 'server.yaml'), '');
  const removed = await stream.next();
  t.same(namesOf(removed), []);
  t.same(removed.removedResources, ['Kubernetes//Pod/demo/server']);
  stream.close();
});

t.test('a file with a mistake changes nothing, and the log says where it is', async (t) => {
  const control = await start(t);
  const stream = new Stream(control.client(await control.join('a')));
  stream.subscribe(typeUrls.address);
  await stream.next();
  const bad = podText('client', 'a', '10.77.1.9').replace('nodeName', 'nodename');
  await writeFile(join(control.config, 'client.yaml'), bad);
  const record = await control.record(({ field }) => field === 'spec.nodename');
  t.match(record, { level: 'error', file: 'client.yaml', line: 5, reason: 'unknown field' });
  // The next change comes alone: nothing was sent for the mistake.
  await writeFile(join(control.config, 'server.yaml'), podText('server', 'b', '10.77.2.9'));
  t.same(namesOf(await stream.next()), ['Kubernetes//Pod/demo/server']);
  stream.close();
});

t.test('a client that comes back gets only what it missed', async (t) => {
  const control = await start(t);
  const identity = await control.join('a');
  const before = new Stream(control.client(identity));
  before.subscribe(typeUrls.address);
  const all = await before.next();
  before.close();

  t.equal(await control.stop('SIGTERM'), 0);
  await writeFile(join(control.config, 'client.yaml'), podText('client', 'a', '10.77.1.9'));
  const again = await ControlProcess.start(t, control);
  const versions = Object.fromEntries(all.resources.map(({ name, version }) => [name, version]));
  const after = new Stream(again.client(identity));
  after.subscribe(typeUrls.address, { ...versions, 'Kubernetes//Pod/demo/gone': 'x' });
  const missed = await after.next();
  t.same(namesOf(missed), ['Kubernetes//Pod/demo/client']);
  t.same(missed.removedResources, ['Kubernetes//Pod/demo/gone']);
  after.close();
});

t.test('a second control plane on the same state is refused', async (t) => {
  const control = await start(t);
  const { config, state } = control;
  const args = ['control', '--config', config, '--state', state, '--listen', '127.0.0.1:0'];
  t.match(await runVerb(args), { code: 1, stderr: /in use by process/ });
});

t.test('a start with a wrong manifest is refused, and says what is wrong', async (t) => {
  const folder = t.testdir({ config: { 'x.yaml': 'apiVersion: v1\nkind: Pot\n' } });
  const [config, state] = [join(folder, 'config'), join(folder, 'state')];
  const args = ['control', '--config', config, '--state', state, '--listen', '127.0.0.1:0'];
  t.match(await runVerb(args), { code: 2, stderr: /x\.yaml:2: kind: Pot of v1/ });
  t.equal(isLocked(state), false);
});

t.test('SIGTERM ends open streams and the process with 0', async (t) => {
  const control = await start(t);
  const stream = new Stream(control.client(await control.join('a')));
  stream.subscribe(typeUrls.address);
  await stream.next();
  const error = new Promise((resolve) => stream.raw.once('error', resolve));
  t.equal(await control.stop('SIGTERM'), 0);
  t.match(await error, { code: status.UNAVAILABLE });
  stream.close();
});

t.test('wrong flags are bad usage', async (t) => {
  t.match(await runVerb(['control', '--config', 'x']), { code: 2, stderr: /--state/ });
  t.match(await runVerb(['token', 'create', '--node', 'A/b', '--state', 'x']), { code: 2 });
});
