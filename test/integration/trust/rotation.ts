// SPDX-License-Identifier: Apache-2.0
// The root is replaced under load, in a whole mesh of real processes; control planes and proxies
// die in between.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import t from 'tap';
import { z } from 'zod';
import { askControl } from '../../../src/control/command-socket.ts';
import { identityOf, underLoad } from '../../../src/lab/demo-policy.ts';
import { demo } from '../../../src/lab/demo-traffic.ts';
import type { Lab } from '../../../src/lab/lab.ts';
import type { LoadResult } from '../../../src/lab/load.ts';
import { endOfLog, readLog } from '../../../src/lab/log-watch.ts';
import { retiredRenewalMs } from '../../../ztunnel/certs.ts';
import {
  controlState,
  eventually,
  restartControl,
  skipLab,
  startLab,
} from '../../support/trust-lab.ts';

const target: [string, number] = [demo.vip4, 80];
const status = z.object({ phase: z.string(), epoch: z.int(), waitsFor: z.array(z.string()) });
const nodes = ['node-a', 'node-b'];
const credential = z.looseObject({ chain: z.array(z.string()), roots: z.array(z.string()) });

t.setTimeout(180_000);

async function ask(lab: Lab, method: 'GET' | 'POST', verb = '') {
  return status.parse(await askControl(controlState(lab), method, `/ca${verb}`));
}

/** What the demo's client sees while it asks for `ms`. Time is the subject: nothing fails in it. */
function whileAsking(lab: Lab, ms: number): Promise<LoadResult> {
  return underLoad(lab, demo.client, target, () => wait(ms));
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

async function killed(lab: Lab): Promise<void> {
  await lab.kill('control');
  await restartControl(lab);
}

/** The roots that a node's own credential names. */
function rootsOn(lab: Lab, node: string): string[] {
  const file = join(lab.proxyState(node), 'node-credential.json');
  return credential.parse(JSON.parse(readFileSync(file, 'utf8'))).roots;
}

t.test('no connection fails while the root is replaced', { skip: skipLab }, async (t) => {
  const lab = await startLab(t);
  const before = rootsOn(lab, 'node-a');
  const seen = await underLoad(lab, demo.client, target, async () => {
    await ask(lab, 'POST', '/rotate');
    t.comment(await until(lab, 'steady'));
    await eventually('each node has the new root alone', 5_000, () =>
      nodes.every((node) => {
        const after = rootsOn(lab, node);
        return after.length === 1 && after[0] !== before[0];
      }),
    );
  });
  t.comment(seen);
  t.equal(seen.failed, 0, 'no request fails');
  t.ok(seen.fresh > 50 && seen.kept > 50, 'there was load');
  const names = readdirSync(controlState(lab)).filter((name) => /^(root|signing)-/.test(name));
  t.equal(names.length, 2, 'the old keys are gone');

  await t.test('with force, nodes that are connected renew at once by themselves', async (t) => {
    const old = new Map(nodes.map((node) => [node, rootsOn(lab, node).join()]));
    const { logFile } = lab.process('control');
    const from = endOfLog(logFile);
    for (const verb of ['prepare', 'activate', 'finish']) {
      await ask(lab, 'POST', `/${verb}?force=true`);
    }
    await eventually('each node has another root', 2 * retiredRenewalMs, () =>
      nodes.every((node) => rootsOn(lab, node).join() !== old.get(node)),
    );
    await eventually('each workload has another leaf', 2 * retiredRenewalMs, () => {
      const fresh = new Set(readLog(logFile, from).records.map(({ spiffeId }) => spiffeId));
      return [demo.client, demo.server].every((account) => fresh.has(identityOf(account)));
    });
    const healed = await whileAsking(lab, 1_000);
    t.equal(healed.failed, 0);
    t.ok(healed.fresh > 0);
  });

  await t.test('a node that is away is waited for', async (t) => {
    await lab.kill('node-b/ztunnel');
    await ask(lab, 'POST', '/rotate');
    const waiting = {
      phase: 'prepared',
      waitsFor: ['spiffe://cluster.local/node/node-b to take the new root'],
    };
    await eventually('node B alone is waited for', 5_000, async () => {
      return (await ask(lab, 'GET')).waitsFor.join() === waiting.waitsFor.join();
    });
    await wait(2_000); // Time is the subject: the phase does not pass by itself.
    t.match(await ask(lab, 'GET'), waiting);
    await lab.restart('node-b/ztunnel');
    await until(lab, 'steady');
    const whole = await whileAsking(lab, 500);
    t.equal(whole.failed, 0);
  });

  await t.test('a control plane that dies in every phase goes on with it', async (t) => {
    const rough = await underLoad(lab, demo.client, target, async () => {
      await ask(lab, 'POST', '/rotate');
      await killed(lab);
      t.match(await ask(lab, 'GET'), { phase: 'prepared' });
      await until(lab, 'activated');
      await killed(lab);
      await until(lab, 'steady');
      await killed(lab);
      t.match(await ask(lab, 'GET'), { phase: 'steady', waitsFor: [] });
      await wait(1_000); // Time is the subject: nothing fails in the second behind it either.
    });
    t.comment(rough);
    t.equal(rough.failed, 0, 'no request fails');
  });

  await t.test('the command line walks a rotation to its end', async (t) => {
    const launcher = join(import.meta.dirname, '../../../src/cli/main.ts');
    const args = [launcher, 'ca', 'rotate', '--state', controlState(lab), '-o', 'json'];
    const { epoch } = await ask(lab, 'GET');
    const output = execFileSync(process.execPath, args, { encoding: 'utf8', timeout: 60_000 });
    t.match(JSON.parse(output), { phase: 'steady', epoch: epoch + 3 });
  });
});
