// SPDX-License-Identifier: Apache-2.0
// A whole mesh of real processes, for tests of what happens when one of them is away.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { Test } from 'tap';
import { Lab } from '../../src/lab/lab.ts';
import { endOfLog, waitForRecord } from '../../src/lab/log-watch.ts';
import { labNames } from '../../src/lab/topology.ts';
import { cgroup2RootOf } from '../../src/lib/machine.ts';

/** Why the test is skipped; false when it can run. */
export const skipLab: string | false = process.getuid?.() === 0 ? false : 'needs root';

// A file may have several at once.
let labs = 0;

/** Builds the lab of the demo and takes it down with the test. */
export async function startLab(t: Test, proxyFlags: readonly string[] = []): Promise<Lab> {
  const root = cgroup2RootOf(readFileSync('/proc/self/mounts', 'utf8'));
  const name = `t${process.pid}${'abcdefgh'[labs]}`;
  labs += 1;
  const lab = await Lab.prepare({
    names: labNames(name, root ?? ''),
    config: join(import.meta.dirname, '../../src/lab/mesh'),
    progress: (text) => t.comment(text),
    proxyFlags,
  });
  t.teardown(() => lab.stop());
  await lab.start();
  return lab;
}

const pollMs = 20;

/** Resolves when `holds` does. Throws when it does not within `timeoutMs`, and says `what`. */
export async function eventually(
  what: string,
  timeoutMs: number,
  holds: () => boolean | Promise<boolean>,
): Promise<void> {
  const until = Date.now() + timeoutMs;
  while (!(await holds())) {
    if (Date.now() > until) {
      throw new Error(`${what}: not within ${timeoutMs} ms`);
    }
    await wait(pollMs);
  }
}

/** The control plane's state folder. */
export function controlState(lab: Lab): string {
  return join(lab.meshFolder, '../control/state');
}

/** Starts the control plane after a crash, and resolves when it serves. */
export async function restartControl(lab: Lab): Promise<void> {
  const { logFile } = lab.process('control');
  const from = endOfLog(logFile);
  await lab.restart('control');
  await waitForRecord(logFile, from, ({ msg }) => msg === 'ready', 'control is ready', 15_000);
}
