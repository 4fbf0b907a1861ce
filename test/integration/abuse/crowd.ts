// SPDX-License-Identifier: Apache-2.0
// Crowds of connections from one pod: what they take is bounded, and another pod does not notice.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as wait } from 'node:timers/promises';
import t from 'tap';
import { underLoad } from '../../../src/lab/demo-policy.ts';
import { demo } from '../../../src/lab/demo-traffic.ts';
import { Lab } from '../../../src/lab/lab.ts';
import type { LoadResult } from '../../../src/lab/load.ts';
import { netnsPath } from '../../../src/lab/netns.ts';
import { labNames } from '../../../src/lab/topology.ts';
import { cgroup2RootOf } from '../../../src/lib/machine.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';
const crowdProgram = new URL('../../peers/crowd.py', import.meta.url).pathname;

/** Connections that an attacker opens. */
const crowd = 9_000;
/** What each of them may cost one proxy, and what a crowd may cost besides. */
const bytesEach = 5 << 10;
const bytesBesides = 16 << 20;
/** How long the quiet pod is watched, each time. */
const watchMs = 4_000;
/** Time between the quiet pod's requests. */
const pauseMs = 2;
/** Below this a percentile says more about the machine than about the mesh. */
const noiseMs = 10;

t.setTimeout(300_000);

function rssOf(lab: Lab, name: string): number {
  const text = readFileSync(`/proc/${lab.process(name).pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(text)?.[1]) << 10;
}

/** Holds connections from a pod until it is told to end. */
class Crowd {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(lab: Lab, pod: string, host: string, port: number) {
    const inside = [`--net=${netnsPath(lab.pod(pod).netns)}`, '--', 'python3', crowdProgram];
    const stdio = ['pipe', 'pipe', 'inherit'] as const;
    this.#child = spawn('nsenter', [...inside, host, String(port), String(crowd)], {
      stdio: [...stdio],
    });
    const input = this.#child.stdout;
    if (input === null) {
      throw new Error('a crowd has an output');
    }
    this.#lines = createInterface({ input })[Symbol.asyncIterator]();
  }

  async said(): Promise<{ open: number; refused: number }> {
    const { value } = await this.#lines.next();
    return JSON.parse(value ?? '{}');
  }

  async end(): Promise<{ open: number; refused: number }> {
    const exited = once(this.#child, 'exit');
    this.#child.stdin?.end();
    const last = await this.said();
    await exited;
    return last;
  }
}

function watch(lab: Lab): Promise<LoadResult> {
  return underLoad(lab, demo.client, [demo.vip4, 80, pauseMs], () => wait(watchMs));
}

t.test('crowds of connections', { skip }, async (t) => {
  const root = cgroup2RootOf(readFileSync('/proc/self/mounts', 'utf8'));
  const lab = await Lab.prepare({
    names: labNames(`c${process.pid}`.slice(0, 10), root ?? ''),
    config: join(import.meta.dirname, '../../../src/lab/mesh'),
    progress: (text) => t.comment(text),
  });
  t.teardown(() => lab.stop());
  await lab.start();
  const server = lab.pod(demo.server);
  await watch(lab);

  const cases = [
    { title: 'that never finish a handshake', pod: demo.outsider, host: server.ipv4, port: 15008 },
    {
      title: 'that are carried and idle',
      pod: demo.intruder,
      host: demo.vip4,
      port: demo.bulkPort,
    },
  ];
  for (const { title, pod, host, port } of cases) {
    await t.test(title, async (t) => {
      const quiet = await watch(lab);
      const proxies = ['node-a/ztunnel', 'node-b/ztunnel'];
      const before = proxies.map((name) => rssOf(lab, name));
      const held = new Crowd(lab, pod, host, port);
      const opened = await held.said();
      const beside = await watch(lab);
      const after = proxies.map((name) => rssOf(lab, name));
      const last = await held.end();
      t.comment({ opened, last, quiet, beside });
      for (const [index, name] of proxies.entries()) {
        const grown = (after[index] ?? 0) - (before[index] ?? 0);
        t.comment(`${name} grew by ${grown >> 10} KiB`);
        t.ok(grown <= crowd * bytesEach + bytesBesides, `${name} stays within its budget`);
      }
      t.equal(beside.failed, 0, 'no request of the quiet pod fails');
      const bound = 2 * Math.max(quiet.p99Ms, noiseMs);
      t.ok(beside.p99Ms <= bound, `its p99 is ${beside.p99Ms} ms, quiet ${quiet.p99Ms} ms`);
    });
  }
  t.comment(await watch(lab));
});
