// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { serveMetrics, serveReadiness } from '../../../src/lib/status-server.ts';

const local = { host: '127.0.0.1', port: 0 };

t.test('metrics are served at both paths, and nothing else is', async (t) => {
  const source = { contentType: 'text/plain; version=0.0.4', text: async () => 'a 1\n' };
  const server = await serveMetrics(local, source);
  t.teardown(() => server.close());
  for (const path of ['/metrics', '/stats/prometheus']) {
    const response = await fetch(`http://127.0.0.1:${server.port}${path}`);
    t.equal(response.status, 200);
    t.equal(response.headers.get('content-type'), source.contentType);
    t.equal(await response.text(), 'a 1\n');
  }
  t.equal((await fetch(`http://127.0.0.1:${server.port}/quitquitquit`)).status, 404);
});

t.test('metrics that cannot be read are an error of the server', async (t) => {
  const text = () => Promise.reject(new Error('broken'));
  const server = await serveMetrics(local, { contentType: 'text/plain', text });
  t.teardown(() => server.close());
  t.equal((await fetch(`http://127.0.0.1:${server.port}/metrics`)).status, 500);
});

t.test('readiness names what it waits for until there is nothing', async (t) => {
  const pending = ['control plane state', 'pods'];
  const server = await serveReadiness(local, () => pending);
  t.teardown(() => server.close());
  const url = `http://127.0.0.1:${server.port}/healthz/ready`;
  const not = await fetch(url);
  t.equal(not.status, 500);
  t.equal(await not.text(), 'not ready, pending: control plane state, pods\n');
  pending.length = 0;
  const ready = await fetch(url);
  t.equal(ready.status, 200);
  t.equal(await ready.text(), 'ready\n');
});

t.test('a port that is taken is a conflict', async (t) => {
  const first = await serveReadiness(local, () => []);
  t.teardown(() => first.close());
  await t.rejects(
    serveReadiness({ ...local, port: first.port }, () => []),
    { code: 'conflict' },
  );
});
