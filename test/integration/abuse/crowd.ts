// SPDX-License-Identifier: Apache-2.0
// Crowds of connections from one pod: what they take is bounded, and another pod does not notice.
// Time is the subject here: the neighbour is watched for so long, by turns alone and beside a crowd.
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as wait } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { identityOf, underLoad } from '../../../src/lab/demo-policy.ts';
import { demo } from '../../../src/lab/demo-traffic.ts';
import type { Lab } from '../../../src/lab/lab.ts';
import type { LoadResult } from '../../../src/lab/load.ts';
import { waitForRecord } from '../../../src/lab/log-watch.ts';
import { insideOf } from '../../../src/lab/processes.ts';
import { ports } from '../../../src/lib/ports.ts';
import { skipLab, startLab } from '../../support/trust-lab.ts';

const peers: string = join(import.meta.dirname, '../../peers');
const python = '/usr/bin/python3';
const proxies = ['node-a/ztunnel', 'node-b/ztunnel'];

/** How long the quiet pod is watched, each time, and how often beside a crowd. */
const watchMs = 6_000;
const crowdedRounds = 2;
/** Time between the quiet pod's requests. */
const pauseMs = 2;
/** So many answers leave a percentile of them to tell. */
const answersMin = 500;

/** What a crowd may cost one proxy besides what each connection or tunnel of it may. */
const bytesBesides = 16 << 20;
const settleMsMax = 15_000;
/** Tunnels that may stay open behind a crowd, at both ends together. */
const tunnelsIdleMax = 400;

t.setTimeout(400_000);

/** Who comes, and what each of them may cost a proxy. */
interface Case {
  readonly title: string;
  /** The pod that they come from. */
  readonly pod: string;
  readonly command: readonly string[];
  readonly count: number;
  readonly bytesEach: number;
}

function rssOf(lab: Lab, name: string): number {
  const text = readFileSync(`/proc/${lab.process(name).pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(text)?.[1]) << 10;
}

const descriptorsOf = (lab: Lab): number =>
  proxies.reduce((sum, name) => {
    return sum + readdirSync(`/proc/${lab.process(name).pid}/fd`).length;
  }, 0);

/** Resolves when the proxies have let the crowd go. Tunnels stay for a while, unused. */
async function settled(lab: Lab, before: number): Promise<void> {
  const until = Date.now() + settleMsMax;
  while (descriptorsOf(lab) > before + tunnelsIdleMax) {
    if (Date.now() > until) {
      throw new Error(`the crowd's descriptors stay: ${descriptorsOf(lab)}, before ${before}`);
    }
    await wait(20);
  }
}

interface Standing {
  readonly open: number;
  readonly refused: number;
}

/** Holds connections from a pod until it is told to end. */
class Crowd {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(lab: Lab, { pod, command }: Case) {
    const cgroup = join(lab.plan.names.cgroup, 'pods', pod);
    const [program = '', ...inside] = insideOf(lab.pod(pod).netns, cgroup, [python, ...command]);
    this.#child = spawn(program, inside, { stdio: ['pipe', 'pipe', 'inherit'] });
    const input = this.#child.stdout;
    if (input === null) {
      throw new Error('a crowd has an output');
    }
    this.#lines = createInterface({ input })[Symbol.asyncIterator]();
  }

  async said(): Promise<Standing> {
    const { value } = await this.#lines.next();
    return JSON.parse(value ?? '{}');
  }

  async end(): Promise<Standing> {
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

/** The memory of both proxies, in bytes over what it was. */
function grown(lab: Lab, before: readonly number[]): number[] {
  return proxies.map((name, index) => rssOf(lab, name) - (before[index] ?? 0));
}

function staysWithin(t: Test, each: Case, growth: readonly number[]): void {
  const budget = each.count * each.bytesEach + bytesBesides;
  for (const [index, name] of proxies.entries()) {
    const kib = (growth[index] ?? 0) >> 10;
    t.ok(kib <= budget >> 10, `${name} grew by ${kib} KiB of ${budget >> 10}`);
  }
}

/**
 * Watches the quiet pod alone, beside the crowd, alone, and so on. How far rounds alone differ says
 * what this machine adds by itself, so the worst of them is what those beside a crowd are held to.
 */
async function beside(t: Test, lab: Lab, each: Case): Promise<void> {
  const quiet = [await watch(lab)];
  const memory = proxies.map((name) => rssOf(lab, name));
  const descriptors = descriptorsOf(lab);
  const crowded: LoadResult[] = [];
  for (let round = 0; round < crowdedRounds; round += 1) {
    const held = new Crowd(lab, each);
    const opened = await held.said();
    t.equal(opened.open + opened.refused, each.count, 'all of them came');
    crowded.push(await watch(lab));
    const growth = grown(lab, memory);
    t.comment({ opened, last: await held.end() });
    staysWithin(t, each, growth);
    await settled(lab, descriptors);
    quiet.push(await watch(lab));
  }
  const p99 = (rounds: readonly LoadResult[]): number[] => rounds.map(({ p99Ms }) => p99Ms);
  for (const { failed, fresh } of [...quiet, ...crowded]) {
    t.equal(failed, 0, 'no request of the quiet pod fails');
    t.ok(fresh >= answersMin, `${fresh} answers`);
  }
  const worst = Math.max(...p99(quiet));
  const seen = Math.max(...p99(crowded));
  const title = `its p99 is ${p99(crowded).join(', ')} ms, alone ${p99(quiet).join(', ')} ms`;
  t.ok(seen <= 2 * worst, title);
}

/** The file in which node A keeps the key and certificate of an account. */
function credentialOf(lab: Lab, account: string): string {
  const name = createHash('sha256').update(identityOf(account)).digest('hex');
  return join(lab.proxyKeys('node-a'), `${name}.json`);
}

t.test('crowds of connections', { skip: skipLab }, async (t) => {
  const lab = await startLab(t);
  const server = lab.pod(demo.server).ipv4;
  const pourPort = 9100;
  const pour = await lab.startInPod(demo.server, 'pour', [
    ...[python, join(peers, 'pour.py'), String(pourPort)],
  ]);
  await waitForRecord(pour.logFile, 0, ({ msg }) => msg === 'listening', 'the pouring server');
  const crowd = join(peers, 'crowd.py');
  const deaf = join(peers, 'deaf_crowd.py');
  const hbone = String(ports.hbone);
  const credential = credentialOf(lab, demo.intruder);
  await watch(lab);

  const cases: Case[] = [
    {
      title: 'that never finish a handshake',
      pod: demo.outsider,
      command: [crowd, server, hbone, '9000'],
      ...{ count: 9_000, bytesEach: 5 << 10 },
    },
    {
      title: 'that are carried and idle',
      pod: demo.intruder,
      command: [crowd, demo.vip4, String(demo.bulkPort), '9000'],
      ...{ count: 9_000, bytesEach: 5 << 10 },
    },
    {
      title: 'whose peers never read what they asked for',
      pod: demo.outsider,
      command: [deaf, 'pour', server, hbone, credential, `${server}:${pourPort}`, '32', '20'],
      // Streams stop reading at 256 KiB unsent, each with one payload of 16 KiB more at most.
      ...{ count: 32, bytesEach: (256 << 10) + 20 * (16 << 10) },
    },
  ];
  for (const each of cases) {
    await t.test(each.title, (t) => beside(t, lab, each));
  }

  await t.test('whose peers ask on for what is refused and never read', async (t) => {
    const before = proxies.map((name) => rssOf(lab, name));
    const each: Case = {
      title: '',
      pod: demo.outsider,
      command: [deaf, 'ask', server, hbone, credential, '10.9.0.99:80', '16'],
      // The 2,001st refusal within a second ends a tunnel, long before 4 MiB unsent would.
      ...{ count: 16, bytesEach: 256 << 10 },
    };
    const held = new Crowd(lab, each);
    let most = before.map(() => 0);
    const over = held.said();
    const ended = over.then(() => true);
    while (!(await Promise.race([ended, wait(20, false)]))) {
      most = grown(lab, before).map((now, index) => Math.max(now, most[index] ?? 0));
    }
    t.strictSame(await over, { open: 0, refused: 16 }, 'each was ended by the server');
    staysWithin(t, each, most);
    await held.end();
  });
});
