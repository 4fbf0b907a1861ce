// SPDX-License-Identifier: Apache-2.0
// Demo rows about what goes on while parts of the mesh are away, restart, or change under it.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { commandOf } from '../lib/node-processes.ts';
import { mustRun } from '../lib/program.ts';
import { msUntil, passes, serverLog, underLoad } from './demo-policy.ts';
import { demo } from './demo-traffic.ts';
import type { Lab } from './lab.ts';
import { endOfLog, type LogRecord, waitForRecord } from './log-watch.ts';
import type { Row } from './report.ts';
import { skewedClock } from './skewed-clock.ts';

const serverProxy = 'node-b/ztunnel';
/** New connections that are tried while the control plane is dead. */
const triesCount = 20;
/** How wrong the clock of one node is, in seconds. */
const skewSeconds = 30;
/** A proxy that was started again carries traffic after this. */
const backMsMax = 2_000;

async function saysFrom(logFile: string, from: number, msg: string): Promise<boolean> {
  const wanted = (record: LogRecord): boolean => record['msg'] === msg;
  return await waitForRecord(logFile, from, wanted, msg, 10_000).then(
    () => true,
    () => false,
  );
}

async function restartControl(lab: Lab): Promise<void> {
  const { logFile } = lab.process('control');
  const from = endOfLog(logFile);
  await lab.restart('control');
  await waitForRecord(logFile, from, ({ msg }) => msg === 'ready', 'the control plane', 15_000);
}

/** Kills the proxy of the server's node and starts it again; says where its new log begins. */
async function reborn(lab: Lab, ...flags: readonly string[]): Promise<number> {
  await lab.kill(serverProxy);
  const from = endOfLog(serverLog(lab));
  await lab.restart(serverProxy, (command) => [...command, ...flags]);
  return from;
}

async function passesOf(lab: Lab, tries: number): Promise<number> {
  let good = 0;
  // One that fails settles the row, and may have taken seconds.
  while (good < tries && (await passes(lab, demo.client))) {
    good += 1;
  }
  return good;
}

/** The control plane dies: traffic goes on, and a proxy comes back without it. */
export async function outageRow(lab: Lab): Promise<Row> {
  // What the first requests brought about is on disk by now, or is written within a second.
  await lab.stateSaved('node-b');
  await lab.kill('control');
  const before = await passesOf(lab, triesCount);
  const from = await reborn(lab);
  await lab.ready('node-b');
  const backMs = await msUntil(lab, demo.client, true);
  const saved = await saysFrom(
    serverLog(lab),
    from,
    'serving from saved state until the control plane answers',
  );
  const after = await passesOf(lab, triesCount);
  const old = await reborn(lab, '--state-max-age', '1s');
  const refused = await saysFrom(serverLog(lab), old, 'saved state refused');
  const silent = !(await passes(lab, demo.client));
  await restartControl(lab);
  await reborn(lab);
  await lab.ready('node-b');
  const whole = await msUntil(lab, demo.client, true);
  const passed = before + after;
  return {
    name: 'the control plane is killed: traffic goes on',
    expected: `${2 * triesCount} of ${2 * triesCount} new connections pass, a proxy that restarts meanwhile is back from saved state; state over its age is refused and carries nothing`,
    seen: [
      `${passed} of ${2 * triesCount} pass`,
      saved ? `back from saved state after ${Math.ceil(backMs)} ms` : 'not back from saved state',
      refused ? 'old state refused' : 'old state taken',
      silent ? 'nothing carried' : 'traffic carried',
    ].join(', '),
    how: 'kill -9 of the control plane and of the proxy on node B, curl, its log',
    ok:
      passed === 2 * triesCount &&
      saved &&
      backMs < backMsMax &&
      refused &&
      silent &&
      whole < backMsMax,
  };
}

const credential = z.looseObject({ roots: z.array(z.string()) });

/** The roots that a node's own credential names. */
function rootsOn(lab: Lab, node: string): string[] {
  const file = join(lab.proxyState(node), 'node-credential.json');
  return credential.parse(JSON.parse(readFileSync(file, 'utf8'))).roots;
}

async function rotate(lab: Lab): Promise<void> {
  const [file = '', ...args] = commandOf('ca', ['rotate', '--state', lab.controlState]);
  await mustRun(file, [...args, '--no-wait']);
  await lab.kill('control');
  await restartControl(lab);
  // It went on by itself; asking for what is under way only follows it.
  await mustRun(file, [...args], { timeoutMs: 60_000 });
}

/** The root is replaced under load, with the clock of one node wrong and the control plane dying. */
export async function rotationRow(lab: Lab): Promise<Row> {
  const nodes = lab.plan.nodes.map(({ name }) => name);
  const before = new Set(nodes.flatMap((node) => rootsOn(lab, node)));
  const clock = await skewedClock(skewSeconds);
  await lab.kill(serverProxy);
  await lab.restart(serverProxy, (command) => [...clock, ...command]);
  await lab.ready('node-b');
  await msUntil(lab, demo.client, true);
  const load = await underLoad(lab, demo.client, [demo.vip4, 80], () => rotate(lab));
  const roots = nodes.map((node) => rootsOn(lab, node));
  const renewed = roots.filter((each) => each.length === 1 && !before.has(each[0] ?? '')).length;
  await reborn(lab);
  await lab.ready('node-b');
  await msUntil(lab, demo.client, true);
  const answers = load.fresh + load.kept;
  return {
    name: 'the root is rotated under load',
    expected: `0 of over 100 requests fail; 2 of 2 nodes have the new root alone`,
    seen: `${load.failed} of ${answers + load.failed} requests fail${load.reasons[0] ? ` (${load.reasons[0]})` : ''}; ${renewed} of ${nodes.length} nodes have the new root alone`,
    how: `weft ca rotate, the control plane killed and restarted in between, the clock of node B ${skewSeconds} s ahead (libfaketime)`,
    ok: load.failed === 0 && answers > 100 && renewed === nodes.length,
  };
}
