// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { captureStatus, captureStatusTable } from '../../../src/cli/capture-status.ts';
import type { SettingsReport } from '../../../src/cni/settings.ts';

t.test('an agent is found beside its proxy, and asked', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-status-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const socket = join(folder, 'cni.sock');
  const report = { tier: 'kernel', reasons: ['guard: passes'], features: [] };
  const pod = (name: string, from: string) => {
    const [capture, bypass] = [
      { value: 'ebpf', from: 'node' },
      { value: 'none', from: 'node' },
    ];
    return {
      uid: name,
      namespace: 'demo',
      name,
      capture,
      sameNode: { value: 'tunnel', from },
      bypass,
    };
  };
  const settings = { mesh: {}, node: {}, pods: [pod('one', 'mesh'), pod('two', 'node')] };
  const answers = new Map<string | undefined, unknown>([
    ['/capture', report],
    ['/settings', settings],
  ]);
  const server = createServer((request, response) => {
    response.end(JSON.stringify(answers.get(request.url) ?? {}));
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  const found = await captureStatus([join(folder, 'state/admin.sock'), '/nowhere/admin.sock']);
  t.strictSame(found, [{ socket, answer: report, settings }]);
  const table = captureStatusTable(found);
  t.match(table, /cni\.sock +kernel +guard: passes\n/);
  t.match(table, /^demo\/one +ebpf \(node\) +tunnel \(mesh\) +none \(node\)$/m);
  t.notMatch(table, /demo\/two/, 'nobody wanted it otherwise');
  server.close();
});

t.test('what is lost is named, and what cost the tier is not told twice', async (t) => {
  const features = [
    { name: 'direct', result: 'no', seen: 'weft_lookup: too large' },
    { name: 'dns', result: 'no', seen: 'weft_recvmsg4: refused' },
    { name: 'sk_msg', result: 'no', seen: 'not in this kernel' },
  ] as const;
  const reasons = ['direct: weft_lookup: too large'];
  const answer = { tier: 'kernel', reasons, features } as const;
  const settings = { node: {}, pods: [] } as unknown as SettingsReport;
  const table = captureStatusTable([{ socket: 'x', answer, settings }]);
  t.match(table, /^x +kernel +dns: weft_recvmsg4: refused +direct: weft_lookup: too large$/m);
});

t.test('one that does not answer says why, and none is no table', async (t) => {
  t.equal(captureStatusTable(await captureStatus(['/nowhere/admin.sock'])), '');
  t.match(captureStatusTable([{ socket: 'x', error: 'it is gone' }]), /^x +\? +it is gone$/m);
});
