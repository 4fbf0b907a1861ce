// SPDX-License-Identifier: Apache-2.0
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  askControl,
  type CommandHandler,
  type CommandRoutes,
  CommandSocket,
} from '../../../src/control/command-socket.ts';
import { MeshError } from '../../../src/lib/error.ts';
import { createLog } from '../../../src/lib/log.ts';

const log = createLog('test', 'silent');
const routes: CommandRoutes = new Map<string, CommandHandler>([
  ['GET /ca', () => ({ phase: 'steady' })],
  ['POST /ca/x', (query) => ({ force: query.get('force') })],
  ['POST /refused', () => Promise.reject(new MeshError('conflict', 'not now'))],
  ['POST /broken', () => Promise.reject(new Error('oh'))],
]);

async function serve(t: Test, folder: string): Promise<CommandSocket> {
  const socket = await CommandSocket.open(folder, routes, log);
  t.teardown(() => socket.close().catch(() => undefined));
  return socket;
}

t.test('a question is answered, and a refusal is told with its code', async (t) => {
  // Far longer than the path of a socket may be.
  const folder = join(t.testdir({ ['x'.repeat(120)]: {} }), 'x'.repeat(120));
  await serve(t, folder);
  t.same(await askControl(folder, 'GET', '/ca'), { phase: 'steady' });
  t.same(await askControl(folder, 'POST', '/ca/x?force=true'), { force: 'true' });
  await t.rejects(askControl(folder, 'POST', '/refused'), { code: 'conflict', message: 'not now' });
  await t.rejects(askControl(folder, 'POST', '/broken'), { code: 'internal', message: 'oh' });
  await t.rejects(askControl(folder, 'POST', '/ca'), { message: '/ca is not known here' });
});

t.test('only the owner of the folder can ask', async (t) => {
  const folder = t.testdir();
  await serve(t, folder);
  const { mode } = statSync(join(folder, 'control.sock'));
  t.equal(mode & 0o777, 0o600);
});

t.test(
  'what a killed process left is replaced; without a process there is no answer',
  async (t) => {
    const folder = t.testdir();
    await t.rejects(askControl(folder, 'GET', '/ca'), { code: 'unavailable' });
    await t.rejects(askControl(join(folder, 'missing'), 'GET', '/ca'), { code: 'unavailable' });
    writeFileSync(join(folder, 'control.sock'), '');
    const socket = await serve(t, folder);
    t.same(await askControl(folder, 'GET', '/ca'), { phase: 'steady' });
    await socket.close();
    await t.rejects(askControl(folder, 'GET', '/ca'), { code: 'unavailable' });
  },
);
