// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import * as native from '../../native/index.ts';
import type { ProxyStatus } from '../../src/lib/admin-api.ts';
import { typeOrder, typeUrls } from '../../src/xds/wire.ts';
import { addressResource } from '../support/delta-server.ts';
import { makeNetNamespace } from '../support/net-namespace.ts';
import { client, info, oneProxy } from '../support/one-proxy.ts';
import { askUnix } from '../support/unix-http.ts';

async function get(port: unknown, path: string): Promise<{ status: number; text: string }> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`);
  return { status: response.status, text: await response.text() };
}

t.test('a node joins, learns its state, carries a pod and is ready', async (t) => {
  const { control, agent, proxy, logged, dns, readies } = await oneProxy(t);
  const namespace = await makeNetNamespace();
  t.teardown(() => namespace.close());
  await proxy.start(new AbortController().signal);
  const { metrics, readiness } = await logged('listening');
  const before = await get(readiness, '/healthz/ready');
  t.equal(before.status, 500);
  t.match(before.text, 'not ready, pending: control plane state, pods');

  const greeting = agent.greeting();
  await control.delta.serve([client], [], typeOrder.length);
  t.equal(await greeting, 1);
  const fd = native.openPath(namespace.path);
  t.teardown(() => native.closeFd(fd));
  const nameservers = [new Uint8Array([10, 0, 0, 53])];
  const add = { case: 'add' as const, value: { uid: 'u1', workloadInfo: info, nameservers } };
  t.equal(await agent.ask(add, fd), '');
  t.match(dns.pods.get('u1'), { namespace: 'demo', nameservers: ['10.0.0.53'] });
  t.match(dns.names, [{ kind: 'workload', addresses: ['10.0.0.1'] }]);
  t.match((await get(readiness, '/healthz/ready')).text, 'pending: pods\n');
  t.strictSame(readies, []);
  t.equal(await agent.ask({ case: 'snapshotSent', value: {} }), '');
  t.equal((await get(readiness, '/healthz/ready')).status, 200);
  await logged('ready');
  t.strictSame(readies, ['ready'], 'said once');
  t.match(await logged('certificate issued'), {
    identity: 'spiffe://cluster.local/ns/demo/sa/client',
  });
  const { text } = await get(metrics, '/metrics');
  t.match(text, /^weft_pods 1$/m);
  t.match(text, /^weft_tunnels_opened 0$/m, 'the counters of the engine are shown');
});

t.test('a pod that the control plane does not place here is refused', async (t) => {
  const { control, agent, proxy } = await oneProxy(t);
  const namespace = await makeNetNamespace();
  t.teardown(() => namespace.close());
  await proxy.start(new AbortController().signal);
  const greeting = agent.greeting();
  await control.delta.serve([client], [], typeOrder.length);
  await greeting;
  const fd = native.openPath(namespace.path);
  t.teardown(() => native.closeFd(fd));
  const workloadInfo = { ...info, serviceAccount: 'admin' };
  const error = await agent.ask({ case: 'add', value: { uid: 'u1', workloadInfo } }, fd);
  t.match(error, 'no pod demo/client with service account admin is placed on this node');
});

t.test('what the engine cannot hold is named to the control plane', async (t) => {
  const { control, proxy } = await oneProxy(t);
  await proxy.start(new AbortController().signal);
  await control.delta.serve([client], [], typeOrder.length);
  const bad = addressResource('bad', '1', {
    type: {
      case: 'workload',
      value: { uid: 'bad', name: 'x', namespace: 'y', addresses: [new Uint8Array(3)] },
    },
  });
  control.delta.send(typeUrls.address, [bad]);
  t.match((await control.delta.next()).errorDetail?.message, /bad: an address of 3 bytes/);
});

t.test('a stop closes everything, also before the node has joined', async (t) => {
  const { control, proxy, logged } = await oneProxy(t);
  control.close();
  const stop = new AbortController();
  const starting = proxy.start(stop.signal);
  const { readiness } = await logged('listening');
  t.match((await get(readiness, '/healthz/ready')).text, 'pending: node credential');
  await logged('cannot join yet');
  stop.abort();
  await t.rejects(starting, { name: 'AbortError' });
  t.equal(proxy.pending().includes('draining'), false);
  await proxy.stop();
  t.equal(proxy.pending()[0], 'draining');
  await t.rejects(get(readiness, '/healthz/ready'));
});

t.test('the admin socket shows and does; TCP shows only', async (t) => {
  const { control, agent, proxy, logged, quits, config } = await oneProxy(t);
  const namespace = await makeNetNamespace();
  t.teardown(() => namespace.close());
  await proxy.start(new AbortController().signal);
  const greeting = agent.greeting();
  await control.delta.serve([client], []);
  await greeting;
  const fd = native.openPath(namespace.path);
  t.teardown(() => native.closeFd(fd));
  const add = { case: 'add' as const, value: { uid: 'u1', workloadInfo: info } };
  await agent.ask(add, fd);
  await agent.ask({ case: 'snapshotSent', value: {} });
  await logged('certificate issued');
  const ask = (method: string, path: string) => askUnix(config.adminSocket, method, path);
  const status = JSON.parse((await ask('GET', '/status')).text) as ProxyStatus;
  t.match(status, { node: 'a', ready: true, synced: true, workloads: 1, certificates: 1 });
  const identity = 'spiffe://cluster.local/ns/demo/sa/client';
  t.match(status.pods, [{ uid: 'u1', name: 'client', identity, carried: true }]);
  const dump = (await ask('GET', '/config_dump')).text;
  t.match(JSON.parse(dump), {
    workloads: [{ uid: 'Kubernetes//Pod/demo/client', protocol: 'HBONE' }],
    certificates: [{ identity, state: 'Available' }],
    workloadState: { u1: { state: 'Up' } },
  });
  t.notMatch(dump, /PRIVATE/);
  t.same(JSON.parse((await ask('GET', '/connections')).text).connections, []);
  t.equal((await ask('POST', '/logging?level=warn')).text, 'warn\n');
  t.equal((await ask('POST', '/logging?level=loud')).status, 400);
  const { port } = await logged('admin is served over TCP, to look but not to touch');
  t.equal((await get(port, '/logging')).text, 'warn\n');
  t.equal((await get(port, '/status')).status, 200);
  for (const path of ['/logging?level=info', '/quitquitquit']) {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, { method: 'POST' });
    t.ok([404, 405].includes(answer.status), path);
  }
  t.same(quits, []);
  t.equal((await ask('POST', '/quitquitquit')).status, 200);
  t.same(quits, ['quit']);
});
