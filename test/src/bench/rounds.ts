// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Progress } from '../../../src/bench/progress.ts';
import {
  checkCarried,
  loadAverage,
  type Measured,
  notCarried,
  proxiesShareMin,
  quietest,
  repeatsMax,
  runRounds,
  shuffled,
} from '../../../src/bench/rounds.ts';
import { bare } from '../../../src/bench/variants/bare.ts';
import type { Variant } from '../../../src/bench/variants/variant.ts';
import { workloads } from '../../../src/bench/workloads.ts';
import type { Lab } from '../../../src/lab/lab.ts';

t.test('an order of its own each time keeps every variant', async (t) => {
  const all = ['bare', 'weft', 'haproxy'];
  const first = new Set<string>();
  for (let n = 0; n < 200; n++) {
    const order = shuffled(all);
    t.strictSame([...order].sort(), [...all].sort());
    first.add(order[0] ?? '');
  }
  t.equal(first.size, 3, 'each of them comes first at some time');
  t.strictSame(all, ['bare', 'weft', 'haproxy'], 'the list itself stays');
});

t.test('reads the load of the machine', async (t) => {
  t.ok(loadAverage() >= 0);
});

const usageOf = (strangers: number, steal = 0) => {
  return { usage: { wall: 1, proxies: 0, path: 0, apps: 0, strangers, steal } };
};

/** Runs that end as listed, one after the other. */
function runs(...ends: (number | Error)[]) {
  let at = 0;
  return {
    count: () => at,
    run: async () => {
      const end = ends[at++];
      if (end === undefined || end instanceof Error) {
        throw end ?? new Error('one run too many');
      }
      return usageOf(end);
    },
  };
}

t.test('a quiet run is not repeated', async (t) => {
  const { run, count } = runs(0.1);
  t.match(await quietest(run), { failures: 0, disturbed: false });
  t.equal(count(), 1);
});

t.test('a disturbed run is repeated, and the least disturbed counts', async (t) => {
  const all = runs(0.9, 0.3, 0.5);
  t.match(await quietest(all.run), { disturbed: true, run: usageOf(0.3) });
  t.equal(all.count(), 1 + repeatsMax);
  t.match(await quietest(runs(0.9, 0.05).run), { disturbed: false, run: usageOf(0.05) });
});

t.test('what the host took disturbs too', async (t) => {
  t.match(await quietest(async () => usageOf(0, 0.2)), { disturbed: true });
});

t.test('a failed run is tried again, and the last failure is told', async (t) => {
  t.match(await quietest(runs(new Error('a'), 0).run), { failures: 1, disturbed: false });
  t.match(await quietest(runs(0.9, new Error('a'), new Error('b')).run), { failures: 2 });
  const all = runs(new Error('a'), new Error('b'), new Error('c'));
  await t.rejects(quietest(all.run), { message: 'c' });
});

t.test('a variant that reads HTTP carries nothing else', async (t) => {
  const workloads = [
    { name: 'rtt64', speaks: 'tcp' },
    { name: 'http64', speaks: 'http' },
  ] as const;
  const variants = [
    { name: 'weft', carries: 'tcp' },
    { name: 'envoy-l7', carries: 'http' },
  ] as const;
  t.match(notCarried(workloads, variants), [{ variant: 'envoy-l7', workload: 'rtt64' }]);
  t.equal(notCarried(workloads, variants).length, 1);
});

t.test('proxies that hardly did anything have carried nothing', async (t) => {
  t.doesNotThrow(() => checkCarried({ wall: 3, proxies: 3 * proxiesShareMin }));
  t.throws(() => checkCarried({ wall: 3, proxies: 0.02 }), {
    code: 'internal',
    message: 'the load went past the proxies, which used 20 ms of CPU in 3.0 s',
  });
});

/** A lab whose load tool always prints `stdout`. */
function labThatPrints(t: Test, stdout: string): Lab {
  const cgroup = t.testdir();
  for (const end of ['client', 'server']) {
    mkdirSync(join(cgroup, 'pods', `bare-${end}`), { recursive: true });
    writeFileSync(join(cgroup, 'pods', `bare-${end}`, 'cpu.stat'), 'usage_usec 1\n');
  }
  const plan = { nodes: [], names: { cgroup } };
  const inPod = async () => ({ code: 0, signal: '', stdout, stderr: '' });
  return { plan, inPod, pod: () => ({ ipv4: '10.0.0.1' }) } as unknown as Lab;
}

t.test('what was measured stays when proxies do not start again', async (t) => {
  const lab = labThatPrints(t, '  30 requests in 3.00s\nRequests/sec:     10.00\n');
  let starts = 0;
  const variant = {
    ...bare,
    start: async () => {
      starts += 1;
      if (starts > 2) {
        throw new Error('no start');
      }
    },
  };
  const measured: Measured = { samples: [], notRun: [] };
  const progress = { note: () => undefined, done: () => undefined } as unknown as Progress;
  const options = { rounds: 3, seconds: 1, engine: [], sessions: true, progress };
  const chosen = workloads.filter(({ name }) => name === 'http64');
  const rounds = runRounds(lab, chosen, [variant], options, measured);
  await t.rejects(rounds, { message: 'no start' });
  t.match(measured.samples, [{ round: 1, figures: { rate: 10 } }, { round: 2 }]);
  t.strictSame(measured.notRun, []);
});

t.test('variants that share proxies are not started over one another', async (t) => {
  const lab = labThatPrints(t, '  30 requests in 3.00s\nRequests/sec:     10.00\n');
  // The proxies of all: set as the last that started them wants it.
  let settings: readonly string[] = [];
  const seen: [string, readonly string[]][] = [];
  const variantOf = (name: string, own: readonly string[]): Variant => ({
    ...bare,
    name,
    settings: own,
    start: async () => {
      settings = own;
    },
    proxyOf: (_lab, end) => {
      if (end === 'client') {
        seen.push([name, settings]);
      }
      return undefined;
    },
  });
  const variants = [variantOf('plain', []), variantOf('set', ['a=1']), variantOf('tier', [])];
  for (const { name } of variants) {
    for (const end of ['client', 'server']) {
      const folder = join(lab.plan.names.cgroup, 'pods', `${name}-${end}`);
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, 'cpu.stat'), 'usage_usec 1\n');
    }
  }
  const progress = { note: () => undefined, done: () => undefined } as unknown as Progress;
  const options = { rounds: 4, seconds: 1, engine: [], sessions: true, progress };
  const chosen = workloads.filter(({ name }) => name === 'http64');
  const measured: Measured = { samples: [], notRun: [] };
  await runRounds(lab, chosen, variants, options, measured);
  t.equal(measured.samples.length, 12);
  for (const [name, meanwhile] of seen) {
    t.strictSame(meanwhile, name === 'set' ? ['a=1'] : [], name);
  }
});
