// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { main } from '../../../src/cli/status.ts';
import { serveFakeAdmin, statusOf } from '../../support/fake-admin.ts';

async function run(...argv: string[]): Promise<{ code: number; text: string }> {
  let text = '';
  const code = await main(argv, (more) => {
    text += more;
  });
  return { code, text };
}

t.test('ready proxies and their pods are shown, and what the mesh leaves alone', async (t) => {
  const socket = await serveFakeAdmin(t, { '/status': statusOf('a') });
  const { code, text } = await run('--socket', socket);
  t.equal(code, 0);
  t.match(text, /^a +yes +1\/1 +1\/1 +4 +2 +1 +2 +90s$/m);
  t.match(text, /^a +demo\/client +yes +spiffe:\/\/cluster\.local\/ns\/demo\/sa\/client$/m);
  t.match(text, /^note: UDP is not$/m);
  t.match(text, /^a +avx512 +ecdsa_verify +23 .* 7: 1, 8: 2$/m);
});

t.test('a proxy that waits or is gone is a failure that is named', async (t) => {
  const waits = { ready: false, pending: ['pods'] };
  const socket = await serveFakeAdmin(t, { '/status': statusOf('a', waits) });
  const table = await run('--socket', socket, '--socket', '/nowhere');
  t.equal(table.code, 1);
  t.match(table.text, /^a +no .*waits for: pods$/m);
  t.match(table.text, /^\? +no .*\/nowhere: no node proxy listens there$/m);
  const json = await run('--socket', socket, '--socket', '/nowhere', '-o', 'json');
  t.equal(json.code, 1);
  t.match(JSON.parse(json.text), {
    ok: false,
    proxies: [
      { socket, node: 'a', pending: ['pods'] },
      { socket: '/nowhere', error: /no node/ },
    ],
  });
});

t.test('a tier that the kernel may not have is noted with the gates', async (t) => {
  const capture = { kernelPods: 1, counters: {}, sockmapRefused: ['splice'] };
  const socket = await serveFakeAdmin(t, { '/status': statusOf('a', { capture }) });
  t.match(JSON.parse((await run('--socket', socket, '-o', 'json')).text), {
    proxies: [{ capture: { sockmapRefused: ['splice'] } }],
  });
});

t.test('state that is only remembered is said to be', async (t) => {
  const socket = await serveFakeAdmin(t, { '/status': statusOf('a', { synced: false }) });
  t.match((await run('--socket', socket)).text, /serves from saved state/);
});
