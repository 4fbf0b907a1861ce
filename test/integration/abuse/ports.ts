// SPDX-License-Identifier: Apache-2.0
// Root in a pod tries to take the proxy's ports, and to get past it with its mark or from its ports,
// while the proxy has two workers.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t from 'tap';
import { unenrolPod } from '../../../src/lab/cni-client.ts';
import { passes } from '../../../src/lab/demo-policy.ts';
import { demo } from '../../../src/lab/demo-traffic.ts';
import type { Lab } from '../../../src/lab/lab.ts';
import { endOfLog, type LogRecord, waitForRecord } from '../../../src/lab/log-watch.ts';
import { insideOf } from '../../../src/lab/processes.ts';
import { ports, proxyMark } from '../../../src/lib/ports.ts';
import { skipLab, startLab } from '../../support/trust-lab.ts';

const thief: string = new URL('../../peers/port_thief.py', import.meta.url).pathname;
const python = '/usr/bin/python3';

t.setTimeout(120_000);

async function thieve(lab: Lab, ...args: (string | number)[]): Promise<unknown> {
  const command = [python, thief, ...args.map(String)];
  const { code, stdout, stderr } = await lab.inPod(demo.client, command, { timeoutMs: 30_000 });
  if (code !== 0) {
    throw new Error(stderr);
  }
  return JSON.parse(stdout);
}

/** Resolves when the client's proxy logged that it carried a connection from that port. */
function carried(lab: Lab, from: number, port: number): Promise<LogRecord> {
  const { logFile } = lab.process('node-a/ztunnel');
  const source = `${lab.pod(demo.client).ipv4}:${port}`;
  const wanted = (record: LogRecord): boolean =>
    record['target'] === 'access' &&
    record['direction'] === 'outbound' &&
    record['src.addr'] === source;
  return waitForRecord(logFile, from, wanted, `a connection from ${source}`);
}

t.test('root in a pod does not get between it and its proxy', { skip: skipLab }, async (t) => {
  const lab = await startLab(t, ['--workers', '2']);
  const client = lab.pod(demo.client);
  const { ipv4: server } = lab.pod(demo.server);
  const { logFile } = lab.process('node-a/ztunnel');

  await t.test('each port is in use, whatever the address and the options', async (t) => {
    const tries = await thieve(lab, 'bind', '127.0.0.1', '::1', client.ipv4, client.ipv6);
    const all = tries as { outcome: string }[];
    t.equal(all.length, 3 * 6 * 4);
    t.strictSame(
      all.filter(({ outcome }) => outcome !== 'EADDRINUSE'),
      [],
    );
    t.ok(await passes(lab, demo.client), 'the pod is served');
  });

  await t.test("the proxy's mark leads into the proxy", async (t) => {
    const from = endOfLog(logFile);
    const seen = (await thieve(lab, 'marked', server, demo.webPort, proxyMark)) as {
      asked: string;
      from: number;
    };
    t.equal(seen.asked, 'HTTP/1.1 200 OK');
    t.ok(await carried(lab, from, seen.from));
  });

  await t.test('who had the ports before cannot listen, and is captured from them', async (t) => {
    await unenrolPod(lab.api(client.node), client);
    const command = ['python3', thief, 'early', server, String(demo.webPort), client.ipv4];
    const cgroup = join(lab.plan.names.cgroup, 'pods', client.name);
    const [program = '', ...inside] = insideOf(client.netns, cgroup, command);
    const early = spawn(program, inside, { stdio: ['pipe', 'pipe', 'inherit'] });
    t.teardown(() => early.kill('SIGKILL'));
    const lines = createInterface({ input: early.stdout })[Symbol.asyncIterator]();
    const next = async (): Promise<unknown> => JSON.parse((await lines.next()).value ?? 'null');
    t.strictSame(await next(), [ports.outbound, ports.hbone], 'bound while nobody listened');
    await lab.enrol(client);
    const from = endOfLog(logFile);
    early.stdin.write('\n');
    const asked = 'HTTP/1.1 200 OK';
    t.strictSame(await next(), [
      { port: ports.outbound, listened: 'EADDRINUSE', asked },
      { port: ports.hbone, listened: 'EADDRINUSE', asked },
    ]);
    t.ok(await carried(lab, from, ports.outbound));
    t.ok(await carried(lab, from, ports.hbone));
    t.ok(await passes(lab, demo.client), 'the pod is served');
  });
});
