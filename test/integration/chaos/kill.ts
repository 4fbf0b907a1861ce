// SPDX-License-Identifier: Apache-2.0
// Every process of the mesh is killed at seeded points in time under load, and started again.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import t from 'tap';
import { agentReady } from '../../../src/lab/cni-client.ts';
import { msUntil, underLoad } from '../../../src/lab/demo-policy.ts';
import { demo } from '../../../src/lab/demo-traffic.ts';
import { Lab } from '../../../src/lab/lab.ts';
import { endOfLog, waitForRecord } from '../../../src/lab/log-watch.ts';
import { labNames } from '../../../src/lab/topology.ts';
import { cgroup2RootOf } from '../../../src/lib/machine.ts';
import { randomOf } from '../../support/random.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';
const seed = Number(process.env['WEFT_CHAOS_SEED'] ?? 20261120);
const pointsOfEach = 10;
/** A point lies at most this long after the mesh was whole again. */
const pointMsMax = 150;
const bulkBytes = 128 << 20;

t.setTimeout(300_000);

async function whole(lab: Lab, name: string, from: number): Promise<void> {
  const [node = '', kind = ''] = name.split('/');
  if (name === 'control') {
    const { logFile } = lab.process(name);
    await waitForRecord(logFile, from, ({ msg }) => msg === 'ready', 'control is ready', 15_000);
  } else if (kind === 'ztunnel') {
    await lab.ready(node);
  } else {
    const until = Date.now() + 15_000;
    while (!(await agentReady(lab.api(node)).catch(() => false))) {
      if (Date.now() > until) {
        throw new Error(`${name} does not come back`);
      }
      await wait(20);
    }
  }
}

async function killAt(lab: Lab, name: string, ms: number): Promise<void> {
  await wait(ms); // Time is the subject: deaths fall on points that were drawn.
  const from = endOfLog(lab.process(name).logFile);
  await lab.kill(name);
  await lab.restart(name);
  await whole(lab, name, from);
}

async function bulk(lab: Lab): Promise<'whole' | 'broken' | 'damaged'> {
  const program = new URL('../../../src/lab/bulk.ts', import.meta.url).pathname;
  const command = [
    process.execPath,
    program,
    'send',
    demo.vip4,
    String(demo.bulkPort),
    String(bulkBytes),
  ];
  const result = await lab.inPod(demo.client, command, { timeoutMs: 60_000 });
  if (result.code !== 0) {
    return 'broken';
  }
  const { received, there, back } = JSON.parse(result.stdout);
  return received === bulkBytes && there && back ? 'whole' : 'damaged';
}

/** Resolves when the transfer's connection stands, or the transfer has ended already. */
async function underWay(lab: Lab, transfer: Promise<unknown>): Promise<void> {
  let ended = false;
  void transfer.finally(() => {
    ended = true;
  });
  // At the server's end: the client's may lead to its proxy.
  const command = ['ss', '-tnH', 'state', 'established', `( sport = :${demo.bulkPort} )`];
  while (!ended && (await lab.inPod(demo.server, command)).stdout === '') {
    await wait(5);
  }
}

t.test('the mesh outlives the death of each of its processes', { skip }, async (t) => {
  const root = cgroup2RootOf(readFileSync('/proc/self/mounts', 'utf8'));
  t.ok(root, 'cgroup v2 is mounted');
  const lab = await Lab.prepare({
    names: labNames(`k${process.pid}`.slice(0, 10), root ?? ''),
    config: join(import.meta.dirname, '../../../src/lab/mesh'),
    progress: (text) => t.comment(text),
  });
  t.teardown(() => lab.stop());
  await lab.start();
  t.comment(`seed ${seed}`);
  const random = randomOf(seed);
  const target: [string, number] = [demo.vip4, 80];

  const aside = ['control', 'node-a/cni', 'node-b/cni'];
  const quiet = await underLoad(lab, demo.client, target, async () => {
    for (let i = 0; i < aside.length * pointsOfEach; i += 1) {
      await killAt(lab, aside[i % aside.length] ?? '', Math.floor(random() * pointMsMax));
    }
  });
  t.comment(quiet);
  t.equal(quiet.failed, 0, 'no request fails while control planes and agents die');
  t.equal(quiet.opened, 1, 'nor does the connection that stays open');
  t.ok(quiet.fresh > 100 && quiet.kept > 100, 'there was load');

  const proxies = ['node-a/ztunnel', 'node-b/ztunnel'];
  const ends: string[] = [];
  const rough = await underLoad(lab, demo.client, target, async () => {
    for (let i = 0; i < proxies.length * pointsOfEach; i += 1) {
      const transfer = i % 4 === 0 ? bulk(lab) : undefined;
      if (transfer !== undefined) {
        await underWay(lab, transfer);
      }
      await killAt(lab, proxies[i % proxies.length] ?? '', Math.floor(random() * pointMsMax));
      const ms = await msUntil(lab, demo.client, true);
      t.ok(ms < 2_000, `after point ${i} a new connection passes: ${Math.ceil(ms)} ms`);
      ends.push((await transfer) ?? 'none');
    }
  });
  t.comment(rough, ends);
  t.equal(rough.wrong, 0, 'no answer is wrong or cut short unnoticed while proxies die');
  t.notOk(ends.includes('damaged'), 'a transfer is whole or known to be broken');
  t.ok(ends.includes('broken'), 'some transfers were hit');
  t.ok(rough.fresh > 50 && rough.kept > 50, 'there was load');
});
