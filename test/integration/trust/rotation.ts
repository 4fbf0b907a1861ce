// SPDX-License-Identifier: Apache-2.0
// The root is replaced under load, in a whole mesh of real processes; control planes and proxies
// die in between.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { z } from 'zod';
import { askControl } from '../../../src/control/command-socket.ts';
import { underLoad } from '../../../src/lab/demo-policy.ts';
import { demo } from '../../../src/lab/demo-traffic.ts';
import { Lab } from '../../../src/lab/lab.ts';
import { endOfLog, waitForRecord } from '../../../src/lab/log-watch.ts';
import { labNames } from '../../../src/lab/topology.ts';
import { cgroup2RootOf } from '../../../src/lib/machine.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';
const target: [string, number] = [demo.vip4, 80];
const status = z.object({ phase: z.string(), epoch: z.int(), waitsFor: z.array(z.string()) });
const credential = z.looseObject({ chain: z.array(z.string()), roots: z.array(z.string()) });

t.setTimeout(180_000);

async function started(t: Test): Promise<Lab> {
  const root = cgroup2RootOf(readFileSync('/proc/self/mounts', 'utf8'));
  const lab = await Lab.prepare({
    names: labNames(`r${process.pid}`.slice(0, 10), root ?? ''),
    config: join(import.meta.dirname, '../../../src/lab/mesh'),
    progress: (text) => t.comment(text),
  });
  t.teardown(() => lab.stop());
  await lab.start();
  return lab;
}

const stateOf = (lab: Lab): string => join(lab.meshFolder, '../control/state');

async function ask(lab: Lab, method: 'GET' | 'POST', verb = '') {
  return status.parse(await askControl(stateOf(lab), method, `/ca${verb}`));
}

/** Resolves with the phases that were seen until this one. */
async function until(lab: Lab, phase: string): Promise<string[]> {
  const seen: string[] = [];
  const end = Date.now() + 60_000;
  while (seen.at(-1) !== phase) {
    const now = await ask(lab, 'GET');
    if (now.phase !== seen.at(-1)) {
      seen.push(now.phase);
    }
    if (Date.now() > end) {
      throw new Error(`not ${phase}: ${JSON.stringify(now)}`);
    }
    await wait(50);
  }
  return seen;
}

async function restarted(lab: Lab): Promise<void> {
  const { logFile } = lab.process('control');
  const from = endOfLog(logFile);
  await lab.kill('control');
  await lab.restart('control');
  await waitForRecord(logFile, from, ({ msg }) => msg === 'ready', 'control is ready', 15_000);
}

/** The roots that a node's own credential names, and whether one of `gone` is among them. */
function rootsOn(lab: Lab, node: string): string[] {
  const file = join(lab.proxyState(node), 'node-credential.json');
  return credential.parse(JSON.parse(readFileSync(file, 'utf8'))).roots;
}

t.test('no connection fails while the root is replaced', { skip }, async (t) => {
  const lab = await started(t);
  const before = rootsOn(lab, 'node-a');
  const seen = await underLoad(lab, demo.client, target, async () => {
    await ask(lab, 'POST', '/rotate');
    t.comment(await until(lab, 'steady'));
    await wait(1_000);
  });
  t.comment(seen);
  t.equal(seen.failed, 0, 'no request fails');
  t.ok(seen.fresh > 50 && seen.kept > 50, 'there was load');
  for (const node of ['node-a', 'node-b']) {
    const after = rootsOn(lab, node);
    t.equal(after.length, 1);
    t.notSame(after, before, `${node} has the new root alone`);
  }
  const names = readdirSync(stateOf(lab)).filter((name) => /^(root|signing)-/.test(name));
  t.equal(names.length, 2, 'the old keys are gone');

  await t.test('a control plane that dies in every phase goes on with it', async (t) => {
    const rough = await underLoad(lab, demo.client, target, async () => {
      await ask(lab, 'POST', '/rotate');
      await restarted(lab);
      t.match(await ask(lab, 'GET'), { phase: 'prepared' });
      await until(lab, 'activated');
      await restarted(lab);
      await until(lab, 'steady');
      await restarted(lab);
      t.match(await ask(lab, 'GET'), { phase: 'steady', waitsFor: [] });
      await wait(1_000);
    });
    t.comment(rough);
    t.equal(rough.failed, 0, 'no request fails');
  });

  await t.test('the command line walks a rotation to its end', async (t) => {
    const launcher = join(import.meta.dirname, '../../../src/cli/main.ts');
    const args = [launcher, 'ca', 'rotate', '--state', stateOf(lab), '-o', 'json'];
    const { epoch } = await ask(lab, 'GET');
    const output = execFileSync(process.execPath, args, { encoding: 'utf8', timeout: 60_000 });
    t.match(JSON.parse(output), { phase: 'steady', epoch: epoch + 3 });
  });
});
