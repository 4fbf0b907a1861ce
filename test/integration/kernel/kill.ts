// SPDX-License-Identifier: Apache-2.0
// The proxy of a node is killed under load: connections past it go on, and new ones succeed all the
// while; those through it are reset, and pass again when it was started again. In a lab of real
// processes; needs root.
import { join } from 'node:path';
import t from 'tap';
import type { BulkResult } from '../../../src/lab/bulk.ts';
import { identityOf, msUntil, underLoad } from '../../../src/lab/demo-policy.ts';
import { demo } from '../../../src/lab/demo-traffic.ts';
import type { Lab } from '../../../src/lab/lab.ts';
import { endOfLog, type LogRecord, readLog, waitForRecord } from '../../../src/lab/log-watch.ts';
import { eventually, skipLab, startLab } from '../../support/trust-lab.ts';

const proxy = 'node-a/ztunnel';
const neighbour = 'neighbour';
const bulkBytes = 256 << 20;
/** Connections that are opened and closed without a proxy. */
const opened = 20;
/** The client has few ports, which come again and again while the test lasts. */
const clientPorts = '40000 40099';
/** What a proxy that is killed has read and not written yet is of the last 0.1 s, if it is let run. */
const lostMsMax = 1_000;
const stepMs = 20_000;
const backMsMax = 2_000;

t.setTimeout(240_000);

/** Answers as the load wants it, at the port of the demo's web server. */
const web = `require('node:http')
  .createServer((asked, answer) => answer.end('path ' + asked.url + '\\n'))
  .listen(${demo.webPort}, '::', () => console.log('{"msg":"listening"}'));`;

/** How often each value is there. */
function countsOf<T>(all: readonly T[]): Map<T, number> {
  const counts = new Map<T, number>();
  for (const each of all) {
    counts.set(each, (counts.get(each) ?? 0) + 1);
  }
  return counts;
}

/** What is more often in `some` than in `all`. */
function missingIn<T>(all: readonly T[], some: readonly T[]): T[] {
  const counts = countsOf(all);
  return [...countsOf(some)].filter(([each, n]) => n > (counts.get(each) ?? 0)).map(([e]) => e);
}

/** A direct connection of the client's, as its end is told by the side that opened it. */
function isDirect(record: LogRecord): boolean {
  return (
    record['target'] === 'access' &&
    record['path'] === 'direct' &&
    record['direction'] === 'outbound' &&
    record['src.identity'] === identityOf(demo.client)
  );
}

/** All that the node's proxies told from `from` on. */
function told(lab: Lab, from: number): LogRecord[] {
  const all: LogRecord[] = [];
  const { logFile } = lab.process(proxy);
  for (let at = from; ; ) {
    const { records, end } = readLog(logFile, at);
    if (end === at) {
      return all.filter(isDirect);
    }
    all.push(...records);
    at = end;
  }
}

/** Bytes there and back, both checked, over one connection. */
async function bulk(lab: Lab, host: string): Promise<BulkResult | string> {
  const program = join(import.meta.dirname, '../../../src/lab/bulk.ts');
  const to = [host, String(demo.bulkPort), String(bulkBytes)];
  const command = [process.execPath, program, 'send', ...to];
  const { code, stdout, stderr } = await lab.inPod(demo.client, command, { timeoutMs: 120_000 });
  return code === 0 ? (JSON.parse(stdout) as BulkResult) : stderr.trim();
}

const whole = { sent: bulkBytes, received: bulkBytes, there: true, back: true, halfClose: true };

/** Resolves when bytes of such a connection have arrived at the pod that serves it. */
async function underWay(lab: Lab, server: string): Promise<void> {
  const command = ['ss', '-tinH', 'state', 'established', `( sport = :${demo.bulkPort} )`];
  await eventually(`bytes to ${server}`, stepMs, async () =>
    (await lab.inPod(server, command)).stdout.includes('bytes_received:'),
  );
}

/** A connection through both nodes' proxies that stays open; resolves to how it ended. */
async function hold(lab: Lab): Promise<() => Promise<unknown>> {
  const program = join(import.meta.dirname, '../../../src/lab/hold.ts');
  const command = [process.execPath, program, demo.vip4, '80'];
  const { logFile } = await lab.startInPod(demo.client, 'hold', command);
  const says = (msg: string): Promise<LogRecord> =>
    waitForRecord(logFile, 0, (record) => record['msg'] === msg, msg, stepMs);
  await says('held');
  return async () => (await says('ended'))['how'];
}

t.test('the proxy of a node is killed under load', { skip: skipLab }, async (t) => {
  const lab = await startLab(t);
  const { logFile } = lab.process(proxy);
  const { ipv4, ipv6 } = lab.pod(neighbour);
  const served = await lab.startInPod(neighbour, 'web', [process.execPath, '-e', web]);
  const listening = (record: LogRecord): boolean => record['msg'] === 'listening';
  await waitForRecord(served.logFile, 0, listening, 'a web server', stepMs);
  const connect = async (host: string, port: number): Promise<boolean> => {
    const probe = `exec 3<>/dev/tcp/${host}/${port}`;
    return (await lab.inPod(demo.client, ['bash', '-c', probe])).code === 0;
  };
  // By the other family than the load, with whose connections these are not counted then.
  await eventually('a direct connection', stepMs, async () => {
    await connect(ipv6, demo.webPort);
    return told(lab, 0).length > 0;
  });

  const set = `net.ipv4.ip_local_port_range=${clientPorts}`;
  t.equal((await lab.inPod(demo.client, ['sysctl', '-qw', set])).code, 0);
  const from = endOfLog(logFile);
  const killed = { pid: lab.process(proxy).pid, atMs: 0 };
  const transfers: (BulkResult | string)[] = [];
  let isBack = false;
  const load = await underLoad(lab, demo.client, [ipv4, demo.webPort], async () => {
    const ended = await hold(lab);
    const tunnelled = bulk(lab, demo.vip4);
    await underWay(lab, demo.server);
    const direct = (async () => {
      while (!isBack) {
        transfers.push(await bulk(lab, ipv4));
      }
    })();
    await underWay(lab, neighbour);

    killed.atMs = Date.now();
    await lab.kill(proxy);
    const without = endOfLog(logFile);
    t.equal(await ended(), 'ECONNRESET', 'what was idle is reset');
    t.match(await tunnelled, /ECONNRESET/, 'as what carried bytes');
    for (let each = 0; each < opened; each++) {
      t.ok(await connect(each % 2 === 0 ? ipv4 : ipv6, demo.bulkPort), 'a new one past the proxy');
    }
    t.equal(endOfLog(logFile), without, 'while there is none');

    const begun = performance.now();
    await lab.restart(proxy);
    await lab.ready('node-a');
    const readyMs = Math.round(performance.now() - begun);
    const ms = Math.round(await msUntil(lab, demo.client, true));
    t.ok(ms < backMsMax, `a new one through the proxy passes after ${readyMs} and ${ms} ms`);
    isBack = true;
    await direct;
  });

  t.strictSame(
    transfers,
    transfers.map(() => whole),
    'bytes past the proxy are whole, both ways',
  );
  t.equal(load.failed, 0, `no request fails (${load.reasons.join('; ')})`);
  t.equal(load.opened, 1, 'nor does the connection that stays open');
  t.ok(load.fresh > 20 && load.kept > 20, 'there was load');

  await t.test('none is told of twice, and all that it did not have read', async (t) => {
    // The kernel tells in order: when this one is told of, so are all before it.
    t.ok(await connect(ipv4, demo.bulkPort));
    const all = (): LogRecord[] => told(lab, from);
    const bulks = (): LogRecord[] =>
      all().filter((each) => `${each['dst.addr']}`.endsWith(`:${demo.bulkPort}`));
    const empty = (): LogRecord[] => bulks().filter((each) => each['bytes_sent'] === 0);
    await eventually('the end of all', stepMs, () => empty().length > opened);
    t.equal(empty().length, opened + 1, 'those that came and went without a proxy');
    t.equal(bulks().length, opened + 1 + transfers.length, 'and all transfers');

    const portOf = (each: LogRecord): number => Number(`${each['src.addr']}`.split(':').at(-1));
    const records = all().filter((each) => each['dst.addr'] === `${ipv4}:${demo.webPort}`);
    const [byFirst, bySecond] = [true, false].map((isFirst) =>
      records.filter((each) => (each['pid'] === killed.pid) === isFirst).map(portOf),
    ) as [number[], number[]];
    const openedIn = (fromMs: number, toMs: number): number[] =>
      load.connections.filter(([, ms]) => ms >= fromMs && ms < toMs).map(([port]) => port);
    const { atMs } = killed;
    const ports = openedIn(0, Infinity);
    t.ok(ports.length > new Set(ports).size, 'ports came again');
    t.ok(byFirst.length > 0 && bySecond.length > 0, 'both proxies told of some');
    t.strictSame(missingIn(ports, [...byFirst, ...bySecond]), [], 'none twice');
    t.strictSame(missingIn(bySecond, openedIn(atMs, Infinity)), [], 'all since it was killed');
    const lost = ports.length - byFirst.length - bySecond.length;
    const late = openedIn(atMs - lostMsMax, atMs).length;
    t.ok(lost <= late, `of ${ports.length} the first took ${lost} with it, of ${late} at most`);
  });
});
