// SPDX-License-Identifier: Apache-2.0
// More captured connections of one pod than there are ports towards one place: to several places and
// to one, and what becomes of one too many. A process may not open so many files here, so that the
// ends are spread over several, and a stand-in takes the proxy's place. Needs root.
process.env['WEFT_TEST_CAPTURE'] = 'ebpf';

import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { mustRun } from '../../../src/lib/program.ts';

const { KernelCapture } = await import('../../support/kernel-capture.ts');
const { counterSteps } = await import('../../support/kernel-counters.ts');
const { makeNetNamespace } = await import('../../support/net-namespace.ts');
const { inCgroup } = await import('../../support/pod-app.ts');

const program = fileURLToPath(new URL('../../support/captured_crowd.py', import.meta.url));
const [ipv4, ipv6] = ['10.9.0.1', 'fd09::1'];
const port = 8080;
/** The ports that Linux takes for connections. */
const [firstPort, lastPort] = [32_768, 60_999];
const portsOfLinux = lastPort - firstPort + 1;
const full = 28_200;
const secondsMax = 60;

t.setTimeout(100_000);

interface Opened {
  readonly opened: number;
  readonly right: number;
  readonly error?: string;
}

interface Answers {
  readonly open: Opened;
  readonly alive: { readonly count: number };
  readonly reset: object;
}

type Child = ChildProcessByStdio<Writable, Readable, null>;

function startIn(netns: string, cgroup: string, args: readonly string[]): Child {
  const inside = ['nsenter', `--net=${netns}`, '--', '/usr/bin/python3', program, ...args];
  const [file = '', ...rest] = [...inCgroup(cgroup), ...inside];
  return spawn(file, rest, { stdio: ['pipe', 'pipe', 'inherit'] });
}

async function stop(child: Child): Promise<void> {
  const ended = once(child, 'exit');
  child.stdin.end();
  await ended;
}

/** Applications of the pod, in one process. */
class Client {
  readonly #child: Child;
  readonly #answers: AsyncIterator<string>;

  constructor(netns: string) {
    this.#child = startIn(netns, KernelCapture.one.apps, ['client']);
    this.#answers = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  async ask<O extends keyof Answers>(op: O, fields: object = {}): Promise<Answers[O]> {
    this.#child.stdin.write(`${JSON.stringify({ op, ...fields })}\n`);
    const { value } = await this.#answers.next();
    return JSON.parse(value) as Answers[O];
  }

  /** `from`: the port of the first, if it is not the kernel that chooses. */
  open(host: string, to: number, count: number, from?: number): Promise<Opened> {
    return this.ask('open', { host, port: to, count, ...(from === undefined ? {} : { from }) });
  }

  async alive(): Promise<number> {
    return (await this.ask('alive')).count;
  }

  stop(): Promise<void> {
    return stop(this.#child);
  }
}

const pod = await makeNetNamespace();
const inPod = (...command: string[]): Promise<string> =>
  mustRun('nsenter', [`--net=${pod.path}`, '--', ...command]);
await inPod('sysctl', '-qw', 'net.core.somaxconn=16384', 'net.ipv4.tcp_max_syn_backlog=16384');
await inPod('ip', 'link', 'set', 'lo', 'up');
await inPod('ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'none');
await inPod('ip', 'address', 'add', `${ipv4}/24`, 'dev', 'eth0');
await inPod('ip', 'address', 'add', `${ipv6}/64`, 'dev', 'eth0', 'nodad');
t.equal(
  (await inPod('sysctl', '-n', 'net.ipv4.ip_local_port_range')).trim().replace('\t', ' '),
  `${firstPort} ${lastPort}`,
);
await KernelCapture.one.capture.install(pod.path);
const proxy = startIn(pod.path, KernelCapture.one.options.proxyCgroup, [
  ...['proxy', KernelCapture.one.pins, '3'],
]);
await once(proxy.stdout, 'data');
t.teardown(async () => {
  await stop(proxy);
  await KernelCapture.one.capture.remove(pod.path);
  await pod.close();
});

/** Two processes, for the one test that asks for them. */
async function withClients(
  t: Test,
  work: (one: Client, other: Client) => Promise<void>,
): Promise<void> {
  const clients = [new Client(pod.path), new Client(pod.path)] as const;
  const steps = counterSteps();
  const begun = performance.now();
  await work(...clients);
  const tookMs = performance.now() - begun;
  await Promise.all(clients.map((client) => client.stop()));
  t.equal(steps()['outbound_lost_origin'], undefined, 'each origin was there');
  t.ok(tookMs < secondsMax * 1000, `${Math.round(tookMs)} ms`);
  t.comment(`${Math.round(tookMs)} ms`);
}

await t.test('to three places 30,000 are open at once', async (t) => {
  await withClients(t, async (one, other) => {
    for (const at of [0, 1, 2]) {
      const half = { opened: 5_000, right: 5_000 };
      const both = await Promise.all([
        one.open('10.9.0.2', port + at, 5_000),
        other.open('10.9.0.2', port + at, 5_000),
      ]);
      t.strictSame(both, [half, half], 'and each is taken for what it is');
    }
    t.strictSame(await Promise.all([one.alive(), other.alive()]), [15_000, 15_000]);
  });
});

for (const [family, host, elsewhere] of [
  ['IPv4', '10.9.0.2', '10.9.0.3'],
  ['IPv6', 'fd09::2', 'fd09::3'],
] as const) {
  await t.test(`to one place of ${family} there are as many as ports`, async (t) => {
    await withClients(t, async (one, other) => {
      const half = { opened: full / 2, right: full / 2 };
      const both = await Promise.all([
        one.open(host, port, full / 2, firstPort),
        other.open(host, port, full / 2, firstPort + full / 2),
      ]);
      t.strictSame(both, [half, half]);

      t.comment('the next ones take the last ports, then there is none');
      const left = portsOfLinux - full;
      const last = await one.open(host, port, left + 1);
      t.strictSame(last, { opened: left, right: left, error: 'EADDRNOTAVAIL' });

      const more = await other.open(elsewhere, port, 100);
      if (family === 'IPv4') {
        t.strictSame(more, { opened: 100, right: 100 }, 'another place has ports of its own');
      } else {
        t.match(more, { opened: 0, error: 'EADDRNOTAVAIL' }, 'nor to another place');
        t.strictSame(await other.open('10.9.0.2', port, 10), { opened: 10, right: 10 });
        await one.ask('reset', { count: 10 });
        const again = await other.open(elsewhere, port, 10);
        t.strictSame(again, { opened: 10, right: 10 }, 'those that ended make room');
      }
      const each = await Promise.all([one.alive(), other.alive()]);
      t.equal(each[0] + each[1], portsOfLinux + (family === 'IPv4' ? 100 : 10));
    });
  });
}
