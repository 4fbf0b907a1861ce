// SPDX-License-Identifier: Apache-2.0
import { createServer } from 'node:net';
import t from 'tap';
import {
  adminSockets,
  askAll,
  askJson,
  askProxy,
  oneSocket,
} from '../../../src/cli/admin-client.ts';
import type { ProxyStatus } from '../../../src/lib/admin-api.ts';
import { serveFakeAdmin, statusOf } from '../../support/fake-admin.ts';

t.test('sockets are those of the flags, else of the environment', (t) => {
  const environment = { WEFT_ADMIN_SOCKET: '/env' };
  t.same(adminSockets({ socket: ['/a', '/b'] }, environment), ['/a', '/b']);
  t.same(adminSockets({}, environment), ['/env']);
  const none = { lab: 'no-such-lab' };
  t.throws(() => adminSockets(none, environment), { code: 'unavailable', message: /--socket/ });
  t.end();
});

t.test('what a proxy refuses is the asker’s mistake, in its own words', async (t) => {
  const socket = await serveFakeAdmin(t, { '/status': statusOf('a'), '/explain': 'no such pod' });
  t.equal((await askJson<ProxyStatus>(socket, '/status')).node, 'a');
  await t.rejects(askProxy(socket, '/explain'), { code: 'invalid', message: 'no such pod' });
  await t.rejects(askProxy(socket, '/nothing'), { code: 'invalid', message: 'not found' });
});

t.test(
  'a socket nobody listens on, and one that says nothing sensible, are unavailable',
  async (t) => {
    const gone = '/nowhere/admin.sock';
    await t.rejects(askProxy(gone, '/status'), { code: 'unavailable', message: /no node proxy/ });
    const server = createServer((socket) => socket.end('garbage\r\n\r\n'));
    const path = `/tmp/weft-garbage-${process.pid}.sock`;
    await new Promise<void>((resolve) => server.listen(path, resolve));
    t.teardown(() => server.close());
    await t.rejects(askProxy(path, '/status'), { code: 'unavailable' });
  },
);

t.test('all are asked; --node leaves the others out', async (t) => {
  const sockets = [
    await serveFakeAdmin(t, { '/status': statusOf('a') }),
    await serveFakeAdmin(t, { '/status': statusOf('b') }),
    '/nowhere/admin.sock',
  ];
  const all = await askAll<ProxyStatus>({ socket: sockets }, '/status');
  t.match(all, [{ answer: { node: 'a' } }, { answer: { node: 'b' } }, { error: /no node proxy/ }]);
  const one = await askAll<ProxyStatus>({ socket: sockets.slice(0, 2), node: 'b' }, '/status');
  t.match(one, [{ answer: { node: 'b' } }]);
  t.equal(one.length, 1);
  await t.rejects(askAll({ socket: sockets, node: 'c' }, '/status'), { code: 'unavailable' });
  t.equal(await oneSocket({ socket: sockets, node: 'b' }), sockets[1]);
  await t.rejects(oneSocket({ socket: sockets }), { code: 'invalid', message: /say --node/ });
  await t.rejects(oneSocket({ socket: ['/nowhere'] }), { code: 'unavailable' });
});
