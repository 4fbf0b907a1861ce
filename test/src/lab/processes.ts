// SPDX-License-Identifier: Apache-2.0
// Real processes in a real cgroup and a real network namespace.
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  watch,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { netnsPath } from '../../../src/lab/netns.ts';
import {
  endProcess,
  type LabProcess,
  processesIn,
  removeCgroup,
  startProcess,
  tailOf,
} from '../../../src/lab/processes.ts';
import { isAlive } from '../../../src/lab/state.ts';
import { cgroup2RootOf } from '../../../src/lib/machine.ts';
import { mustRun } from '../../../src/lib/program.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';
const root = cgroup2RootOf(readFileSync('/proc/self/mounts', 'utf8')) ?? '';
const cgroup = join(root, `weft-processes-${process.pid}`);
const netns = `weft-processes-${process.pid}`;

// Not t.testdir: that is the same for two runs of this file at one time, and each empties it.
function folderOf(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'weft-processes-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  return folder;
}

/** Resolves when the last line of the log is `line`; rejects when the process ends before. */
async function untilSaid({ logFile, ended }: LabProcess, line: string): Promise<void> {
  const early = ended.then((how) => {
    throw new Error(`it ended too early: ${how}: ${tailOf(logFile)}`);
  });
  const watcher = watch(logFile);
  try {
    while (tailOf(logFile, 1) !== line) {
      await Promise.race([once(watcher, 'change'), early]);
    }
  } finally {
    watcher.close();
    // It will end some time, and nobody minds then.
    early.catch(() => undefined);
  }
}

t.before(async () => {
  if (skip === false) {
    await mustRun('ip', ['netns', 'add', netns]);
  }
});

t.teardown(async () => {
  if (skip === false) {
    await removeCgroup(cgroup);
    await mustRun('ip', ['netns', 'del', netns]);
  }
});

t.test(
  'a process starts in its namespace, cgroup and folder, with its log',
  { skip },
  async (t) => {
    const folder = folderOf(t);
    const logFile = join(folder, 'logs', 'one.log');
    const inner = join(cgroup, 'one');
    const command = ['sh', '-c', 'pwd; readlink /proc/self/ns/net; echo on; exec sleep 1000'];
    const started = await startProcess({
      ...{ name: 'one', netns, cgroup: inner, command, logFile, folder },
    });
    // The shell says it itself, so `readlink` has ended by then.
    await untilSaid(started, 'on');
    t.same(processesIn(cgroup), [started.pid]);
    t.ok(isAlive(started));
    t.ok(await endProcess(started, 5000));
    t.equal(await started.ended, 'SIGTERM');
    t.equal(statSync(logFile).mode & 0o777, 0o600);
    const inode = statSync(netnsPath(netns)).ino;
    t.equal(tailOf(logFile), `${folder}\nnet:[${inode}]\non`);
    t.not(readlinkSync('/proc/self/ns/net'), `net:[${inode}]`);
  },
);

t.test('a process that does not end by itself is reported, then killed', { skip }, async (t) => {
  const folder = folderOf(t);
  const logFile = join(folder, 'log');
  const stubborn = "trap '' TERM; echo on; while :; do sleep 1000; done";
  const command = ['sh', '-c', stubborn];
  const inner = join(cgroup, 'deep', 'er');
  const started = await startProcess({
    ...{ name: 'two', netns, cgroup: inner, command, logFile, folder },
  });
  await untilSaid(started, 'on');
  t.notOk(await endProcess(started, 50));
  await removeCgroup(join(cgroup, 'deep'));
  t.notOk(isAlive(started));
  t.notOk(existsSync(join(cgroup, 'deep')));
});

t.test('a cgroup that is empty or not there is removed without a word', { skip }, async (t) => {
  const empty = join(cgroup, 'empty');
  mkdirSync(empty, { recursive: true });
  await removeCgroup(empty);
  t.notOk(existsSync(empty));
  await removeCgroup(empty);
  t.same(processesIn(empty), []);
});
