// SPDX-License-Identifier: Apache-2.0
// Who gets in. What is shown has its test with the whole node proxy.
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { peerUser } from '../../native/index.ts';
import { textAnswer } from '../../src/lib/http-server.ts';
import { createLog } from '../../src/lib/log.ts';
import { isLoopback, serveAdminSocket, serveAdminTcp } from '../../ztunnel/admin.ts';
import { askUnix } from '../support/unix-http.ts';

const log = createLog('test', 'silent');
const routes = { '/x': { GET: () => textAnswer(200, 'seen\n') } };

function socketPath(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'weft-admin-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  return join(folder, 'a', 'admin.sock');
}

t.test('the socket serves its owner, and is for nobody else', async (t) => {
  const path = socketPath(t);
  const server = await serveAdminSocket(path, routes, peerUser, log);
  t.teardown(() => server.close());
  t.match(await askUnix(path, 'GET', '/x'), { status: 200, text: 'seen\n' });
  t.equal(statSync(path).mode & 0o777, 0o600);
  t.equal(statSync(dirname(path)).mode & 0o777, 0o700);
  await t.rejects(serveAdminSocket(path, routes, peerUser, log), { code: 'conflict' });
});

t.test('another user, or one who cannot be told, is sent away unanswered', async (t) => {
  const path = socketPath(t);
  const users = [
    () => 12345,
    () => {
      throw new Error('no such descriptor');
    },
  ];
  for (const user of users) {
    const server = await serveAdminSocket(path, routes, user, log);
    await t.rejects(askUnix(path, 'GET', '/x'));
    await server.close();
  }
});

t.test('TCP is for this machine alone', async (t) => {
  for (const host of ['0.0.0.0', '::', '10.0.0.1', 'example.com', '127.0.0.1.example.com']) {
    t.equal(isLoopback(host), false, host);
    await t.rejects(serveAdminTcp({ host, port: 0 }, routes), { code: 'denied' });
  }
  for (const host of ['127.0.0.1', '127.1.2.3', '::1', 'localhost']) {
    t.equal(isLoopback(host), true, host);
  }
  const server = await serveAdminTcp({ host: '127.0.0.1', port: 0 }, routes);
  t.teardown(() => server.close());
  t.equal((await fetch(`http://127.0.0.1:${server.port}/x`)).status, 200);
});
