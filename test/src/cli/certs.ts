// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { main } from '../../../src/cli/certs.ts';
import type { ShownIdentity } from '../../../src/lib/admin-api.ts';
import { serveFakeAdmin } from '../../support/fake-admin.ts';

async function run(...argv: string[]): Promise<{ code: number; text: string }> {
  let text = '';
  const code = await main(argv, (more) => {
    text += more;
  });
  return { code, text };
}

function shown(state: ShownIdentity['state'], endsInMs: number): ShownIdentity {
  const expirationTime = new Date(Date.now() + endsInMs).toISOString();
  const leaf = { pem: 'PEM', serialNumber: '77', validFrom: expirationTime, expirationTime };
  return { identity: 'spiffe://x/ns/a/sa/b', state, certChain: [leaf], rootCerts: [leaf, leaf] };
}

t.test('each certificate has its end and serial number', async (t) => {
  const certificates = [shown('Available', 7_300_000)];
  const socket = await serveFakeAdmin(t, { '/certificates': { node: 'a', certificates } });
  const { code, text } = await run('--socket', socket);
  t.equal(code, 0);
  t.match(text, /^a +spiffe:\/\/x\/ns\/a\/sa\/b +Available +in 2h +77 +2$/m);
  const json = await run('--socket', socket, '-o', 'json');
  t.match(JSON.parse(json.text), { ok: true, proxies: [{ socket, node: 'a', certificates }] });
});

t.test('one that has ended is a failure', async (t) => {
  const certificates = [shown('Expired', -1)];
  const socket = await serveFakeAdmin(t, { '/certificates': { node: 'a', certificates } });
  const { code, text } = await run('--socket', socket);
  t.equal(code, 1);
  t.match(text, /Expired +ended/);
  t.equal((await run('--socket', '/nowhere')).code, 1);
});
