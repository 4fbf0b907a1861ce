// SPDX-License-Identifier: Apache-2.0
// The real process, against a plain control plane of the tests.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { typeOrder } from '../../src/xds/wire.ts';
import { startFakeControl } from '../support/fake-control.ts';

function run(t: Test, args: readonly string[]): ChildProcess {
  const child = spawn(process.execPath, ['src/cli/main.ts', 'ztunnel', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  return child;
}

async function exitOf(child: ChildProcess): Promise<{ code: number | null; stderr: string }> {
  let stderr = '';
  child.stderr?.on('data', (data) => {
    stderr += data;
  });
  const [code] = await once(child, 'close');
  return { code, stderr };
}

// Resolves with the first log line of this message.
async function logged(child: ChildProcess, msg: string): Promise<Record<string, unknown>> {
  if (child.stdout === null) {
    throw new Error('no output');
  }
  for await (const text of createInterface({ input: child.stdout })) {
    const line = JSON.parse(text);
    if (line.msg === msg) {
      child.stdout.resume();
      return line;
    }
  }
  throw new Error(`it ended without "${msg}"`);
}

async function setUp(t: Test) {
  const control = await startFakeControl();
  const dir = mkdtempSync(join(tmpdir(), 'weft-main-'));
  const keys = mkdtempSync('/dev/shm/weft-main-');
  writeFileSync(join(dir, 'token'), control.token);
  t.teardown(() => {
    control.close();
    rmSync(keys, { recursive: true });
    rmSync(dir, { recursive: true });
  });
  const flags = {
    '--node': 'a',
    '--control': control.service.address,
    '--join-token': join(dir, 'token'),
    '--state': join(dir, 'state'),
    '--keys': keys,
    '--zds': join(dir, 'zds.sock'),
    '--metrics': '127.0.0.1:0',
    '--readiness': '127.0.0.1:0',
  };
  const args = (change: Record<string, string> = {}) =>
    Object.entries({ ...flags, ...change }).flat();
  return { control, args };
}

t.test('SIGTERM drains and ends with 0', async (t) => {
  const { control, args } = await setUp(t);
  const child = run(t, args());
  const exit = exitOf(child);
  await control.delta.serve([], [], typeOrder.length);
  child.kill('SIGTERM');
  await logged(child, 'draining');
  t.equal((await exit).code, 0);
});

t.test('SIGTERM while it waits for the control plane ends with 0', async (t) => {
  const { control, args } = await setUp(t);
  control.close();
  const child = run(t, args());
  const exit = exitOf(child);
  await logged(child, 'cannot join yet');
  child.kill('SIGTERM');
  t.equal((await exit).code, 0);
});

t.test('the state of before is served on while the control plane is away', async (t) => {
  const { control, args } = await setUp(t);
  const child = run(t, args());
  const exit = exitOf(child);
  await control.delta.serve([], [], typeOrder.length);
  control.close();
  await logged(child, 'xds stream is down');
  t.equal(child.exitCode, null);
  child.kill('SIGTERM');
  t.equal((await exit).code, 0);
});

t.test('wrong flags are told in one line and end with 2', async (t) => {
  const { args } = await setUp(t);
  const exit = await exitOf(run(t, args({ '--workers': '0' })));
  t.equal(exit.code, 2);
  t.match(exit.stderr, /^weft: --workers .*\n$/);
});

t.test('a token for another node ends with 1', async (t) => {
  const { args } = await setUp(t);
  const child = run(t, args({ '--node': 'b' }));
  const exit = exitOf(child);
  t.match(await logged(child, 'cannot start'), { reason: /is for node a, not b/ });
  t.equal((await exit).code, 1);
});
