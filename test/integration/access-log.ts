// SPDX-License-Identifier: Apache-2.0
// Which connections real proxies write a line about, by --access-log, and that they count all.
import t from 'tap';
import { passes } from '../../src/lab/demo-policy.ts';
import { demo } from '../../src/lab/demo-traffic.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { endOfLog, type LogRecord, readLog, waitForRecord } from '../../src/lab/log-watch.ts';
import { ports } from '../../src/lib/ports.ts';
import { eventually, skipLab, startLab } from '../support/trust-lab.ts';

t.setTimeout(120_000);

const proxy = 'node-b/ztunnel';
/** Nobody listens there. */
const closedPort = 9;

async function counted(lab: Lab, metric: 'opened' | 'failed'): Promise<number> {
  const url = `http://127.0.0.1:${ports.metrics}/metrics`;
  const { stdout } = await lab.onNode('node-b', ['curl', '-s', '-m', '5', url]);
  const series = new RegExp(`^istio_tcp_connections_${metric}_total\\{[^}]*\\} (\\d+)$`, 'gm');
  return Array.from(stdout.matchAll(series), ([, value]) => Number(value)).reduce(
    (sum, value) => sum + value,
    0,
  );
}

/** One connection that is carried and one that fails, once the proxy has told of both. */
async function useBoth(lab: Lab): Promise<void> {
  const before = { opened: await counted(lab, 'opened'), failed: await counted(lab, 'failed') };
  if (!(await passes(lab, demo.client))) {
    throw new Error('the server does not answer');
  }
  const { ipv4 } = lab.pod(demo.server);
  await lab.inPod(demo.client, ['curl', '-s', '-m', '5', `http://${ipv4}:${closedPort}/`]);
  await eventually('the proxy counts both', 10_000, async () => {
    return (
      (await counted(lab, 'opened')) > before.opened &&
      (await counted(lab, 'failed')) > before.failed
    );
  });
}

const isAccess = ({ target }: LogRecord): boolean => target === 'access';

t.test('lines are of what the flag says, and metrics of all', { skip: skipLab }, async (t) => {
  const lab = await startLab(t, ['--access-log', 'failed']);
  const { logFile } = lab.process(proxy);

  await t.test('failed: of the connection that fails alone', async (t) => {
    const from = endOfLog(logFile);
    await useBoth(lab);
    const line = await waitForRecord(logFile, from, isAccess, 'the line of the failure');
    t.match(line, { level: 'warn', msg: 'connection failed', direction: 'inbound' });
    t.strictSame(readLog(logFile, from).records.filter(isAccess), [line]);
  });

  await t.test('off: of none', async (t) => {
    await lab.kill(proxy);
    const from = endOfLog(logFile);
    await lab.restart(proxy, (command) => [...command, '--access-log', 'off']);
    await lab.ready('node-b');
    await useBoth(lab);
    await lab.kill(proxy);
    t.strictSame(readLog(logFile, from).records.filter(isAccess), []);
  });
});
