// SPDX-License-Identifier: Apache-2.0
// The demo row about an upgrade: proxies are replaced while everything goes on.
import { join } from 'node:path';
import { MeshError } from '../lib/error.ts';
import type { BulkResult } from './bulk.ts';
import { underLoad } from './demo-policy.ts';
import { demo } from './demo-traffic.ts';
import type { Lab } from './lab.ts';
import { endOfLog, type LogRecord, waitForRecord } from './log-watch.ts';
import type { LabProcess } from './processes.ts';
import type { Row } from './report.ts';

const bulkBytes: number = 1 << 29;
const takeMs = 30_000;
/** How long after their last connection the old proxies may stay. */
const endMs = 20_000;

const saying = (msg: string) => (record: LogRecord) => record['msg'] === msg;

async function replaceProxy(lab: Lab, node: string): Promise<LabProcess> {
  const { logFile } = lab.process(`${node}/ztunnel`);
  const from = endOfLog(logFile);
  const before = await lab.replace(`${node}/ztunnel`);
  await waitForRecord(logFile, from, saying('took over'), `the new proxy of ${node}`, takeMs);
  return before;
}

function moveBulk(lab: Lab): Promise<BulkResult> {
  const program = join(import.meta.dirname, 'bulk.ts');
  const to = [lab.pod(demo.server).ipv4, String(demo.bulkPort), String(bulkBytes)];
  const command = [process.execPath, program, 'send', ...to];
  return lab
    .inPod(demo.client, command, { timeoutMs: 120_000 })
    .then(({ code, stdout, stderr }) => {
      if (code !== 0) {
        throw new MeshError('internal', stderr.trim().slice(-300));
      }
      return JSON.parse(stdout) as BulkResult;
    });
}

interface Ended {
  readonly how: string;
  readonly cut: unknown;
}

async function endOf(before: LabProcess, from: number): Promise<Ended> {
  const said = 'the node proxy before this one has ended';
  const record = await waitForRecord(before.logFile, from, saying(said), said, endMs);
  return { how: await before.ended, cut: record['cut'] };
}

/**
 * Both proxies are replaced under load: no connection is refused, no question of DNS is lost, and
 * nothing is cut.
 */
export async function replaceRow(lab: Lab): Promise<Row> {
  const nodes = lab.plan.nodes.map(({ name }) => name);
  const froms = nodes.map((node) => endOfLog(lab.process(`${node}/ztunnel`).logFile));
  const olds: LabProcess[] = [];
  const moving = moveBulk(lab);
  // It may break before anybody waits for it, and is told then.
  moving.catch(() => undefined);
  const load = await underLoad(lab, demo.client, [demo.name, 80], async () => {
    for (const node of nodes) {
      olds.push(await replaceProxy(lab, node));
    }
    // The bulk goes on in the old ones, and everything else in the new ones.
    await moving;
  });
  const { sent, received, there, back } = await moving;
  const whole = sent === bulkBytes && received === bulkBytes && there && back;
  const ends = await Promise.all(olds.map((old, i) => endOf(old, froms[i] ?? 0)));
  const cut = ends.reduce((sum, end) => sum + Number(end.cut), 0);
  const clean = ends.filter(({ how }) => how === 'exit code 0').length;
  const answers = load.fresh + load.kept;
  const size = `${bulkBytes / (1 << 20)} MiB`;
  return {
    name: 'the proxies are replaced under load',
    expected: `0 of over 100 requests fail, the connection that stays open is opened once; ${size} there and back, whole; both old proxies end, 0 connections cut`,
    seen: `${load.failed} of ${answers + load.failed} requests fail${load.reasons[0] ? ` (${load.reasons[0]})` : ''}, opened ${load.opened} times; ${whole ? `${size} there and back, whole` : 'bytes were lost'}; ${clean} end, ${cut} cut`,
    how: 'a second weft ztunnel on each node, requests by name, digests of both ends, exit codes, logs',
    ok:
      load.failed === 0 &&
      answers > 100 &&
      load.opened === 1 &&
      whole &&
      clean === nodes.length &&
      cut === 0,
  };
}
