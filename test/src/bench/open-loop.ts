// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import {
  type OpenLoop,
  type OpenLoopReport,
  openLoopCommand,
  openLoopOrReason,
  openLoopP99,
  openLoopReport,
} from '../../../src/bench/open-loop.ts';
import { runProgram } from '../../../src/lib/program.ts';

const report = {
  ...{ asked: 3000, answered: 3000, failed: 0, seconds: 3 },
  micros: { p50: 300, p90: 400.5, p99: 1200.5 },
};

t.test('reads a report, and nothing else', async (t) => {
  t.strictSame(openLoopReport(`${JSON.stringify(report)}\n`), report);
  const twice = `${JSON.stringify(report)}\n${JSON.stringify(report)}\n`;
  for (const wrong of ['', 'no JSON', '{"asked":1}', twice]) {
    t.throws(() => openLoopReport(wrong), { code: 'invalid' }, wrong);
  }
});

t.test('a percentile is of enough requests, none of which failed', async (t) => {
  t.equal(openLoopP99(report), 1200.5);
  t.equal(openLoopP99({ ...report, answered: 10 }), 1200.5, 'late ones are in it');
  t.equal(openLoopP99({ ...report, asked: 1000 }), 1200.5);
  t.throws(() => openLoopP99({ ...report, asked: 999 }), { message: /too few/ });
  t.throws(() => openLoopP99({ ...report, failed: 1 }), { message: /1 of 3000 requests failed/ });
});

interface Counted {
  readonly server: Server;
  connections: number;
  requests: number;
}

/** A server that counts. Past `answersMax` it says nothing more, or nothing for `pauseMs`. */
async function counting(
  t: Test,
  answersMax = Number.POSITIVE_INFINITY,
  pauseMs?: number,
): Promise<Counted> {
  let pause: Promise<void> | undefined;
  const server = createServer(async (_request, response) => {
    counted.requests += 1;
    if (counted.requests > answersMax) {
      pause ??= pauseMs === undefined ? new Promise(() => undefined) : delay(pauseMs);
      await pause;
    }
    response.end('x'.repeat(1024));
  });
  const counted: Counted = { server, connections: 0, requests: 0 };
  server.on('connection', (socket) => {
    counted.connections += 1;
    // Resets are how the program ends.
    socket.on('error', () => undefined);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return counted;
}

async function run({ server }: Pick<Counted, 'server'>, load: OpenLoop): Promise<OpenLoopReport> {
  const { port } = server.address() as AddressInfo;
  const [file = '', ...args] = openLoopCommand('127.0.0.1', load, port);
  const { code, stdout, stderr } = await runProgram(file, args, { timeoutMs: 20_000 });
  t.equal(code, 0, stderr);
  return openLoopReport(stdout);
}

t.test('the program', async (t) => {
  t.equal(await openLoopOrReason(), undefined);

  t.test('carries all on the connections it keeps, which are warm before', async (t) => {
    const counted = await counting(t);
    const told = await run(counted, { rate: 200, seconds: 1, kept: 4 });
    t.match(told, { asked: 200, answered: 200, failed: 0 });
    t.ok(told.seconds >= 1);
    t.equal(counted.connections, 4);
    t.equal(counted.requests, 204);
    t.ok(told.micros.p50 > 0 && told.micros.p50 <= told.micros.p99);
  });

  t.test('what was due while nothing was answered is asked after the time is over', async (t) => {
    const counted = await counting(t, 104, 1500);
    const told = await run(counted, { rate: 200, seconds: 1, kept: 4 });
    t.match(told, { asked: 200, answered: 200, failed: 0 });
    t.equal(counted.requests, 204);
    // Half of them were due in the pause.
    t.ok(told.micros.p90 > 1_000_000, String(told.micros.p90));
  });

  t.test('gives each request a connection of its own', async (t) => {
    const counted = await counting(t);
    const told = await run(counted, { rate: 200, seconds: 1, kept: 0 });
    t.match(told, { asked: 200, answered: 200, failed: 0 });
    t.equal(counted.connections, 200);
    t.equal(counted.requests, 200);
  });

  t.test('what has no answer is late, and not forgotten', async (t) => {
    const counted = await counting(t, 104);
    const told = await run(counted, { rate: 200, seconds: 1, kept: 4 });
    t.match(told, { asked: 200, answered: 100, failed: 0 });
    t.equal(counted.requests, 108, 'the other 96 have no connection to go on');
    // The last was due when the time was nearly over, and waited for the 2 s that follow.
    t.ok(told.micros.p99 > 2_400_000, String(told.micros.p99));
    t.ok(told.micros.p50 > 1_900_000 && told.micros.p50 < 3_100_000, String(told.micros.p50));
  });

  t.test('a refused connection has failed', async (t) => {
    const counted = await counting(t);
    const { port } = counted.server.address() as AddressInfo;
    counted.server.close();
    await once(counted.server, 'close');
    const gone = { server: { address: () => ({ port }) } as unknown as Server };
    const told = await run(gone, { rate: 100, seconds: 1, kept: 0 });
    t.match(told, { asked: 100, answered: 0, failed: 100 });
  });
});
