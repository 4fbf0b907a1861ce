// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { main } from '../../../src/cli/connections.ts';
import type { ConnectionStatus } from '../../../src/lib/admin-api.ts';
import { serveFakeAdmin } from '../../support/fake-admin.ts';

const open: ConnectionStatus = {
  ...{ direction: 'outbound', pod: 'u1', source: '10.0.0.1:4000', destination: '10.96.0.1:80' },
  ...{
    tunnel: '10.0.0.2:15008',
    sourceIdentity: 'spiffe://me',
    destinationIdentity: 'spiffe://it',
  },
  ...{ sourceWorkload: 'c', destinationWorkload: 's', service: 'demo/web', mutualTls: true },
  ...{ open: true, bytesSent: 2048, bytesReceived: 10, ageMs: 61_000 },
};

async function run(...argv: string[]): Promise<{ code: number; text: string }> {
  let text = '';
  const code = await main(argv, (more) => {
    text += more;
  });
  return { code, text };
}

t.test('each connection has its ends, its peer and its bytes', async (t) => {
  const inbound = { ...open, direction: 'inbound' as const, mutualTls: false, open: true };
  const connections = [open, inbound, { ...open, open: false }];
  const answer = { node: 'a', connections, tunnels: [], omitted: 3 };
  const socket = await serveFakeAdmin(t, { '/connections': answer });
  const { code, text } = await run('--socket', socket);
  t.equal(code, 0);
  t.match(text, /^a +out +u1 .*mutual TLS +spiffe:\/\/it +2\.0 KiB +10 B +61s$/m);
  t.match(text, /^a +in +u1 .*plaintext +spiffe:\/\/me /m);
  t.match(text, /^a +out .*opening /m);
  t.match(text, /^a: 0 tunnels, 3 connections more than are shown$/m);
  const json = await run('--socket', socket, '-o', 'json');
  t.same(JSON.parse(json.text), { ok: true, proxies: [answer] });
});

t.test('a proxy that is gone is a failure', async (t) => {
  const { code, text } = await run('--socket', '/nowhere');
  t.equal(code, 1);
  t.match(text, /no node proxy listens there/);
});
