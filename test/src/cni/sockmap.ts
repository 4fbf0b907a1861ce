// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs';
import { mock } from 'node:test';
import t from 'tap';
import type { SockmapGate } from '../../../native/capture.ts';
import { promoteMs, Sockmap } from '../../../src/cni/sockmap.ts';

const options = { pins: '/nowhere', cgroup: '/nowhere', proxyCgroup: '/nowhere' };
const fine: SockmapGate = { name: 'order', ok: true, reason: '', bit: 1 };
const bad: SockmapGate = { name: 'splice', ok: false, reason: 'it says EAGAIN', bit: 2 };

class Bench {
  gatesTried = 0;
  readonly opened: string[] = [];
  readonly promoted: number[] = [];
  readonly refused: (readonly SockmapGate[])[] = [];
  readonly logged: unknown[][] = [];
  readonly sockmap: Sockmap;
  readonly node = { refuseSockmap: (gates: readonly SockmapGate[]) => this.refused.push(gates) };

  constructor(gates: readonly SockmapGate[], promote?: () => void) {
    const note = (...line: unknown[]): void => {
      this.logged.push(line);
    };
    const tier = {
      promote: (fd: number) => {
        this.promoted.push(fd);
        promote?.();
      },
    };
    const parts = {
      gates: () => {
        this.gatesTried++;
        return gates;
      },
      tier: () => {
        this.opened.push('tier');
        return tier;
      },
    };
    this.sockmap = new Sockmap(options, { warn: note, error: note, info: note }, parts);
  }

  admits(): boolean {
    const { node } = this;
    return this.sockmap.admits('/proc/self/ns/net', {
      refuseSockmap: (gates) => void node.refuseSockmap(gates),
    });
  }
}

t.test('gates are tried when a pod asks, and once', async (t) => {
  const bench = new Bench([fine]);
  t.equal(bench.gatesTried, 0);
  t.ok(bench.admits());
  t.ok(bench.admits());
  t.equal(bench.gatesTried, 1);
  t.strictSame(bench.opened, ['tier']);
  t.strictSame(bench.refused, []);
});

t.test('a pod that is refused is told which gate, and nothing is loaded', async (t) => {
  const bench = new Bench([fine, bad]);
  t.throws(() => bench.sockmap.check(), {
    code: 'unsupported',
    message: 'no sockmap tier here: splice (it says EAGAIN)',
  });
  t.notOk(bench.admits());
  t.strictSame(bench.opened, []);
  t.strictSame(bench.refused, [[bad]]);
  t.match(bench.logged, [[{ reason: /splice \(it says EAGAIN\)/ }, /in vain/]]);
});

t.test('connections are looked at again and again, of those that are in', async (t) => {
  mock.timers.enable({ apis: ['setInterval'] });
  t.teardown(() => mock.timers.reset());
  const bench = new Bench([fine]);
  bench.admits();
  mock.timers.tick(promoteMs);
  t.equal(bench.promoted.length, 0);
  bench.sockmap.add('/proc/self/ns/net');
  mock.timers.tick(2 * promoteMs);
  t.equal(bench.promoted.length, 2);
  t.notOk(existsSync(`/proc/self/fd/${bench.promoted[0]}`), 'nothing stays open');
  bench.sockmap.remove('/proc/self/ns/net');
  mock.timers.tick(promoteMs);
  t.equal(bench.promoted.length, 2);
});

t.test('a pod that is gone, or cannot be looked at, is left alone', async (t) => {
  const refuse = (): void => {
    throw new Error('setns: no such process');
  };
  const bench = new Bench([fine], refuse);
  bench.admits();
  bench.sockmap.add('/proc/self/ns/net');
  bench.sockmap.add('/run/netns/none');
  bench.sockmap.promote();
  bench.sockmap.promote();
  t.equal(bench.promoted.length, 1);
  t.match(bench.logged, [[{ reason: /setns/ }], [{ netns: '/run/netns/none' }]]);
});
