// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { statSync, writeFileSync } from 'node:fs';
import t from 'tap';
import {
  isAlive,
  type LabState,
  loadState,
  markProcess,
  removeFolder,
  saveState,
  startTimeOf,
} from '../../../src/lab/state.ts';
import type { LabNames } from '../../../src/lab/topology.ts';

const namesIn = (folder: string): LabNames => {
  return { netnsPrefix: 'x-', cgroup: '/x', folder, keys: `${folder}-keys` };
};

t.test('a state comes back as it was saved, for its owner only', async (t) => {
  const names = namesIn(`${t.testdir()}/lab`);
  const state: LabState = {
    version: 1,
    owner: markProcess(process.pid),
    kept: true,
    pods: { one: { netns: 'x-pod-one', cgroup: '/x/pods/one' } },
  };
  saveState(names, state);
  t.same(loadState(names), state);
  t.equal(statSync(names.folder).mode & 0o777, 0o700);
  t.equal(statSync(`${names.folder}/state.json`).mode & 0o777, 0o600);
  removeFolder(names);
  t.equal(loadState(names), undefined);
});

t.test('a state that was cut off by a crash counts as none', async (t) => {
  const names = namesIn(t.testdir({ 'state.json': '{"version":1,"owner"' }));
  t.equal(loadState(names), undefined);
  writeFileSync(`${names.folder}/state.json`, '{"version":2}');
  t.equal(loadState(names), undefined);
});

t.test('a process is alive by its number and its start', async (t) => {
  const mark = markProcess(process.pid);
  t.ok(isAlive(mark));
  t.notOk(
    isAlive({ ...mark, startTime: `${Number(mark.startTime) - 1}` }),
    'the number was reused',
  );
});

t.test('a process that ended is not alive, also before its parent noticed', async (t) => {
  // The shell leaves a zombie: it became a program that never waits for its child.
  const child = spawn('sh', ['-c', 'true & echo $!; exec sleep 100'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const [text] = await once(child.stdout, 'data');
  const pid = Number(String(text));
  while (startTimeOf(pid) !== undefined) {
    await new Promise(setImmediate);
  }
  t.throws(() => markProcess(pid), { code: 'unavailable' });
  t.throws(() => markProcess(2 ** 22 + 1), { code: 'unavailable' });
});
