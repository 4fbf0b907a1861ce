// SPDX-License-Identifier: Apache-2.0
// Starts processes in a network namespace and a cgroup, and ends everything in a cgroup.
import { spawn } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { MeshError } from '../lib/error.ts';
import { netnsPath } from './netns.ts';
import { isAlive, markProcess, type ProcessMark } from './state.ts';

const removeTimeoutMs = 5_000;

/** What to start. */
export interface ProcessSpec {
  readonly name: string;
  readonly netns: string;
  /** Cgroup v2 folder; made if need be. */
  readonly cgroup: string;
  readonly command: readonly string[];
  /** Gets standard output and standard error. */
  readonly logFile: string;
  readonly folder: string;
}

/** A process of the lab. It outlives the lab when that is told to keep it. */
export interface LabProcess extends ProcessMark {
  readonly name: string;
  readonly logFile: string;
  /** Resolves with the exit code, or the signal's name, when it ends. */
  readonly ended: Promise<string>;
  /** From now on this program may end before the process does. */
  release(): void;
}

// The shell only joins the cgroup before it becomes the program: a socket belongs to the cgroup
// that its process had when it was made. The text is constant.
const joinAndRun = 'echo $$ >"$0/cgroup.procs" && exec "$@"';

/** The command line that runs `command` in a cgroup and a network namespace. */
export function insideOf(netns: string, cgroup: string, command: readonly string[]): string[] {
  const enter = ['nsenter', `--net=${netnsPath(netns)}`, '--', ...command];
  return ['sh', '-c', joinAndRun, cgroup, ...enter];
}

/** Starts a process in a session of its own, so that a terminal's Ctrl-C does not reach it. */
export function startProcess(spec: ProcessSpec): Promise<LabProcess> {
  mkdirSync(spec.cgroup, { recursive: true });
  mkdirSync(dirname(spec.logFile), { recursive: true, mode: 0o700 });
  const log = openSync(spec.logFile, 'a', 0o600);
  const [file = '', ...args] = insideOf(spec.netns, spec.cgroup, spec.command);
  const child = spawn(file, args, {
    detached: true,
    cwd: spec.folder,
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  return new Promise((resolve, reject) => {
    child.once('error', (error) => reject(MeshError.from(error)));
    child.once('spawn', () => {
      const { pid = 0 } = child;
      const ended = new Promise<string>((done) => {
        child.once('exit', (code, signal) => done(signal ?? `exit code ${code}`));
      });
      try {
        const { name, logFile } = spec;
        resolve({ ...markProcess(pid), name, logFile, ended, release: () => child.unref() });
      } catch {
        // It ended before it could be looked at.
        void ended.then((how) =>
          reject(new MeshError('unavailable', `${spec.name}: ${how}\n${tailOf(spec.logFile)}`)),
        );
      }
    });
  });
}

/** The last lines a process printed, for a report of its failure. */
export function tailOf(logFile: string, lines = 8): string {
  try {
    return readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  } catch {
    return '';
  }
}

/** Asks a process to end and waits for it; false when it is still there after `timeoutMs`. */
export async function endProcess(mark: ProcessMark, timeoutMs: number): Promise<boolean> {
  const until = Date.now() + timeoutMs;
  if (isAlive(mark)) {
    signal(mark.pid, 'SIGTERM');
  }
  // It may be no child of ours, so there is only its entry in /proc to look at.
  while (isAlive(mark) && Date.now() < until) {
    await wait(20);
  }
  return !isAlive(mark);
}

/** Kills a process of ours and waits until it is gone. */
export async function killProcess(started: LabProcess): Promise<void> {
  if (isAlive(started)) {
    signal(started.pid, 'SIGKILL');
  }
  await started.ended;
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It ended in between.
  }
}

function foldersBelow(folder: string): string[] {
  try {
    const inner = readdirSync(folder, { withFileTypes: true }).filter((each) => each.isDirectory());
    return [...inner.flatMap((each) => foldersBelow(join(folder, each.name))), folder];
  } catch {
    return [];
  }
}

function pidsIn(cgroup: string): number[] {
  try {
    const text = readFileSync(join(cgroup, 'cgroup.procs'), 'utf8');
    return text.split('\n').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/** Every process in a cgroup and those below it. */
export function processesIn(cgroup: string): number[] {
  return foldersBelow(cgroup).flatMap(pidsIn);
}

function killAll(cgroup: string): void {
  try {
    // Since Linux 5.14: at once and with no pid to mistake.
    writeFileSync(join(cgroup, 'cgroup.kill'), '1');
  } catch {
    for (const pid of processesIn(cgroup)) {
      signal(pid, 'SIGKILL');
    }
  }
}

/**
 * Kills everything in a cgroup and removes it with those below it; one that is not there is no
 * error. Throws MeshError `timeout` when that takes over 5 s.
 */
export async function removeCgroup(cgroup: string): Promise<void> {
  const until = Date.now() + removeTimeoutMs;
  for (;;) {
    killAll(cgroup);
    if (removeEmpty(cgroup)) {
      return;
    }
    if (Date.now() > until) {
      throw new MeshError('timeout', `processes in ${cgroup} do not end`);
    }
    await wait(10);
  }
}

// The kernel refuses while a killed process is still on its way out.
function removeEmpty(cgroup: string): boolean {
  try {
    foldersBelow(cgroup).forEach((folder) => {
      rmdirSync(folder);
    });
    return true;
  } catch {
    return false;
  }
}
