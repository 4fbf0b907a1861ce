// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { captureStatus, captureStatusTable } from '../../../src/cli/capture-status.ts';

t.test('an agent is found beside its proxy, and asked', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-status-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const socket = join(folder, 'cni.sock');
  const report = { tier: 'kernel', reasons: ['guard: passes'], features: [] };
  const server = createServer((request, response) => {
    response.end(JSON.stringify(request.url === '/capture' ? report : {}));
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  const found = await captureStatus([join(folder, 'state/admin.sock'), '/nowhere/admin.sock']);
  t.strictSame(found, [{ socket, answer: report }]);
  t.match(captureStatusTable(found), /cni\.sock +kernel +guard: passes\n$/);
  server.close();
});

t.test('one that does not answer says why, and none is no table', async (t) => {
  t.equal(captureStatusTable(await captureStatus(['/nowhere/admin.sock'])), '');
  t.match(captureStatusTable([{ socket: 'x', error: 'it is gone' }]), /^x +\? +it is gone$/m);
});
