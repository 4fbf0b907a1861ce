// SPDX-License-Identifier: Apache-2.0
// Real namespace files; capture and proxy are fakes that write down what they are asked.
// Long, since its cases share them, and what an agent is told of a pod.
import { fstatSync, openSync } from 'node:fs';
import { mock } from 'node:test';
import t from 'tap';
import { closeFd } from '../../../native/index.ts';
import { Agent } from '../../../src/cni/agent.ts';
import type { CaptureWants } from '../../../src/cni/capture.ts';
import { type ListedPod, type PodEnrolment, podsMax } from '../../../src/cni/pod.ts';
import { retryMaxMs } from '../../../src/cni/retries.ts';
import { MeshError } from '../../../src/lib/error.ts';
import { createLog } from '../../../src/lib/log.ts';
import type { MeshConfig } from '../../../src/lib/pod-settings.ts';

interface Fixture {
  readonly agent: Agent;
  /** What was done, in order. */
  readonly done: string[];
  readonly saved: ListedPod[][];
  /** What capture was asked for, each time. */
  readonly wants: CaptureWants[];
  readonly meshes: MeshConfig[];
  /** What removals were told of the time before. */
  readonly formers: unknown[];
  /** Namespaces that were left to a later try, each time that the capture was told. */
  readonly kept: string[][];
  /** The list that the next run would find. */
  listed(): ListedPod[];
  /** Descriptors that are open. */
  readonly open: Set<number>;
  epoch: string;
  failAt: string;
  /** What a step waits for when it begins. */
  hold: (what: string) => Promise<void>;
}

function make(mesh: MeshConfig = {}): Fixture {
  const done: string[] = [];
  const saved: ListedPod[][] = [];
  const wants: CaptureWants[] = [];
  const meshes: MeshConfig[] = [];
  const formers: unknown[] = [];
  const kept: string[][] = [];
  const open = new Set<number>();
  const step = async (what: string): Promise<void> => {
    done.push(what);
    await fixture.hold(what);
    if (what.startsWith(fixture.failAt) && fixture.failAt !== '') {
      throw new MeshError('unavailable', `${what} failed`);
    }
  };
  const agent = new Agent({
    capture: {
      check: async () => {
        if (fixture.failAt === 'check') {
          throw new MeshError('invalid', 'not of a network');
        }
      },
      install: (_path, wanted = {}) => {
        wants.push(wanted);
        return step('install');
      },
      before: async () => former,
      remove: (_path, former) => {
        formers.push(former);
        return step('remove');
      },
      retain: async (left) => void kept.push([...left]),
      epoch: () => fixture.epoch,
    },
    proxies: {
      add: ({ uid, netns }) => step(`add ${uid} ${fstatSync(netns).ino > 0}`),
      remove: (uid) => step(`del ${uid}`),
    },
    openPath: (path) => {
      try {
        const fd = openSync(path, 'r');
        open.add(fd);
        return fd;
      } catch (error) {
        throw MeshError.from(error);
      }
    },
    closeFd: (fd) => {
      open.delete(fd);
      closeFd(fd);
    },
    save: (pods) => {
      if (fixture.failAt === 'save') {
        throw new MeshError('internal', 'no room');
      }
      saved.push([...pods]);
    },
    mesh,
    saveMesh: (told) => void meshes.push(told),
    log: createLog('test', 'silent'),
  });
  const hold = async (): Promise<void> => undefined;
  const listed = (): ListedPod[] => saved.at(-1) ?? [];
  const seen = { done, saved, wants, meshes, formers, kept, open };
  const fixture: Fixture = { agent, ...seen, listed, epoch: 'e1', failAt: '', hold };
  return fixture;
}

function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function pod(change: Partial<PodEnrolment> = {}): PodEnrolment {
  const of = { uid: 'one', name: 'one', namespace: 'demo', serviceAccount: 'web' };
  return { ...of, netns: '/proc/self/ns/net', nameservers: ['10.0.0.53'], ...change };
}

const releasing = { releasing: true } as const;
const former = { 'ipv4/fwmark_reflect': '0' };

/** As it is on the list when this run has captured it. */
function kept(): ListedPod {
  return { ...pod(), former };
}

t.test('a pod is captured before the proxy hears of it, and until it let go', async (t) => {
  const { agent, done, saved, open } = make();
  await agent.enrol(pod());
  t.same(agent.list(), [pod()]);
  await agent.unenrol('one');
  t.same(done, ['install', 'add one true', 'del one', 'remove']);
  t.same(saved, [[kept()], [{ ...kept(), ...releasing }], []]);
  t.equal(open.size, 0);
});

t.test('a pod is on the saved list before its first rule and until its last', async (t) => {
  const fixture = make();
  const { agent, done, listed } = fixture;
  const seen: [string, ListedPod[]][] = [];
  fixture.hold = async (what) => void seen.push([what, listed()]);
  await agent.enrol(pod());
  await agent.unenrol('one');
  const leaving = [{ ...kept(), ...releasing }];
  t.same(seen, [
    ['install', [kept()]],
    ['add one true', [kept()]],
    ['del one', leaving],
    ['remove', leaving],
  ]);
  fixture.failAt = 'save';
  done.length = 0;
  await t.rejects(agent.enrol(pod()), { code: 'internal' });
  t.same(done, [], 'what cannot be written down is not captured');
  t.equal(fixture.open.size, 0);
});

t.test('a pod that is not enrolled yet or not any more is in no list or snapshot', async (t) => {
  const fixture = make();
  const { agent } = fixture;
  const seen: unknown[] = [];
  fixture.hold = async () => void seen.push(agent.list(), await agent.snapshot());
  await agent.enrol(pod());
  await agent.unenrol('one');
  t.same(seen, Array(8).fill([]));
});

t.test('what is asked twice is done once', async (t) => {
  const { agent, done, open } = make();
  await agent.enrol(pod());
  await agent.enrol(pod());
  t.equal(open.size, 1);
  await agent.unenrol('one');
  await agent.unenrol('one');
  await agent.unenrol('never seen');
  t.same(done, ['install', 'add one true', 'del one', 'remove']);
});

t.test('a pod that the proxy refuses is not left captured', async (t) => {
  const fixture = make();
  fixture.failAt = 'add';
  await t.rejects(fixture.agent.enrol(pod()), { code: 'unavailable', message: 'add one' });
  t.same(fixture.done, ['install', 'add one true', 'del one', 'remove']);
  t.same(fixture.agent.list(), []);
  t.equal(fixture.open.size, 0);
});

t.test('a capture that fails is taken back whole', async (t) => {
  const fixture = make();
  fixture.failAt = 'install';
  await t.rejects(fixture.agent.enrol(pod()), { code: 'unavailable' });
  t.same(fixture.done, ['install', 'del one', 'remove']);
  t.equal(fixture.open.size, 0);
});

t.test('rules that cannot be taken back are on the list until they are', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  const fixture = make();
  const { agent, done, open, listed } = fixture;
  fixture.hold = async (what) => {
    if (what.startsWith('add') || what === 'remove') {
      throw new MeshError('internal', `no ${what}`);
    }
  };
  await t.rejects(agent.enrol(pod()), { message: 'no add one true' });
  t.same(agent.list(), []);
  t.same(listed(), [{ ...kept(), ...releasing }], 'the next run knows it too');
  await t.rejects(agent.unenrol('one'), { message: 'no remove' }, 'no false success');
  t.equal(open.size, 1);
  fixture.hold = async () => undefined;
  done.length = 0;
  mock.timers.tick(retryMaxMs);
  await settle();
  t.same(done, ['del one', 'remove']);
  t.same(listed(), []);
  t.equal(open.size, 0);
  mock.timers.tick(retryMaxMs);
  await settle();
  t.equal(done.length, 2, 'once it is released it is not tried again');
});

t.test('a pod whose release failed is enrolled from the start', async (t) => {
  const fixture = make();
  const { agent, done, listed } = fixture;
  await agent.enrol(pod());
  fixture.failAt = 'remove';
  await t.rejects(agent.unenrol('one'));
  fixture.failAt = '';
  done.length = 0;
  await agent.enrol(pod());
  t.same(done, ['del one', 'remove', 'install', 'add one true']);
  t.same(listed(), [kept()]);
  await agent.unenrol('one');
  t.equal(fixture.open.size, 0);
});

t.test('another account or namespace for a uid replaces the pod', async (t) => {
  const { agent, done, open } = make();
  await agent.enrol(pod());
  await agent.enrol(pod({ serviceAccount: 'other' }));
  await agent.enrol(pod({ netns: '/proc/self/ns/uts' }));
  const again = ['del one', 'remove', 'install', 'add one true'];
  t.same(done, ['install', 'add one true', ...again, ...again]);
  t.equal(open.size, 1);
});

t.test('two pods cannot have one network namespace', async (t) => {
  const { agent, open } = make();
  await agent.enrol(pod());
  await t.rejects(agent.enrol(pod({ uid: 'two' })), { code: 'conflict' });
  t.equal(open.size, 1);
});

t.test('a file that is no namespace is refused untouched', async (t) => {
  const fixture = make();
  const { agent, done, open } = fixture;
  await t.rejects(agent.enrol(pod({ netns: '/etc/hosts' })), { code: 'invalid' });
  await t.rejects(agent.enrol(pod({ netns: '/no/such/file' })), { code: 'conflict' });
  fixture.failAt = 'check';
  await t.rejects(agent.enrol(pod()), { code: 'invalid' });
  await t.rejects(agent.unenrol('one', '/proc/self/ns/net'), { code: 'invalid' });
  t.same(done, []);
  t.same(fixture.saved, []);
  t.equal(open.size, 0);
});

t.test('what is asked for one pod is done in order', async (t) => {
  const { agent, done } = make();
  await Promise.all([agent.enrol(pod()), agent.unenrol('one'), agent.enrol(pod())]);
  const enrol = ['install', 'add one true'];
  t.same(done, [...enrol, 'del one', 'remove', ...enrol]);
});

t.test('rules are renewed for a proxy with another cgroup, and only then', async (t) => {
  const fixture = make();
  await fixture.agent.enrol(pod());
  fixture.done.length = 0;
  t.match(await fixture.agent.snapshot(), [{ uid: 'one' }]);
  t.same(fixture.done, []);
  fixture.epoch = 'e2';
  await fixture.agent.snapshot();
  await fixture.agent.snapshot();
  t.same(fixture.done, ['install']);
});

t.test('rules are renewed for a proxy that came during an enrolment', async (t) => {
  const fixture = make();
  fixture.hold = async (what) => {
    if (what.startsWith('add')) {
      fixture.epoch = 'e2';
    }
  };
  await fixture.agent.enrol(pod());
  t.same(fixture.done, ['install', 'add one true', 'install']);
  await fixture.agent.snapshot();
  t.equal(fixture.done.length, 3);
});

t.test('a restarted agent captures its pods again and forgets those that are gone', async (t) => {
  const { agent, done, saved, kept } = make();
  await agent.restore([pod(), pod({ uid: 'two', netns: '/no/such/file' })]);
  t.same(done, ['install']);
  t.same(kept, [[]], 'and what the node holds for others goes');
  t.same(saved, [[pod()]]);
  t.match(await agent.snapshot(), [{ uid: 'one' }]);
});

t.test('a pod that cannot be taken over now is kept, and tried until it is', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  const fixture = make();
  const { agent, done, saved, open } = fixture;
  fixture.failAt = 'install';
  await agent.restore([pod()]);
  t.same(saved, [[pod()]], 'the next run knows it too');
  t.same(fixture.kept, [[pod().netns]], 'and the node holds what it held for it');
  t.same(agent.list(), []);
  t.equal(open.size, 0);
  mock.timers.tick(retryMaxMs);
  await settle();
  t.same(done, ['install', 'install']);
  fixture.failAt = 'add';
  mock.timers.tick(retryMaxMs);
  await settle();
  t.same(done, ['install', 'install', 'install', 'add one true'], 'a proxy may be there by now');
  t.same(agent.list(), [pod()], 'and what it says is for its next snapshot');
  t.same(saved, [[pod()], [pod()]]);
  mock.timers.tick(retryMaxMs);
  await settle();
  t.equal(done.length, 4, 'once it is taken over it is not tried again');
});

t.test('a release that was cut short is finished by the next run', async (t) => {
  const { agent, done, listed, open } = make();
  const uts = pod({ uid: 'two', netns: '/proc/self/ns/uts' });
  await agent.restore([{ ...pod(), ...releasing }, uts]);
  t.same(done, ['install', 'del one', 'remove']);
  t.same(listed(), [uts]);
  t.same(agent.list(), [uts]);
  t.equal(open.size, 1);
});

t.test('a release does not touch a namespace that is another pod by now', async (t) => {
  const { agent, done, listed } = make();
  const other = pod({ uid: 'two' });
  await agent.restore([{ ...pod(), ...releasing }, other]);
  t.same(done, ['install']);
  t.same(listed(), [other]);
});

t.test('a pod that nobody knows loses its rules when its namespace is named', async (t) => {
  const { agent, done, open } = make();
  await agent.unenrol('one', '/proc/self/ns/net');
  t.same(done, ['del one', 'remove']);
  await agent.unenrol('one', '/no/such/file');
  await t.rejects(agent.unenrol('one', '/etc/hosts'), { code: 'invalid' });
  await agent.enrol(pod());
  await t.rejects(agent.unenrol('other', '/proc/self/ns/net'), { code: 'conflict' });
  t.same(agent.list(), [pod()]);
  t.equal(done.filter((what) => what === 'remove').length, 1);
  t.equal(open.size, 1);
});

t.test('a file that is no namespace any more is forgotten', async (t) => {
  const { agent, done, saved } = make();
  await agent.restore([pod({ netns: '/etc/hosts' })]);
  t.same(saved, [[]]);
  t.same(done, []);
});

t.test('a pod that waits to be taken over can be un-enrolled, and loses its rules', async (t) => {
  const fixture = make();
  const { agent, done, saved, open } = fixture;
  fixture.failAt = 'install';
  await agent.restore([pod()]);
  fixture.failAt = 'remove';
  await t.rejects(agent.unenrol('one'), { code: 'unavailable' });
  const leaving = [{ ...pod(), ...releasing }];
  t.same(saved, [[pod()], leaving], 'while its rules are there it is not forgotten');
  fixture.failAt = '';
  await agent.unenrol('one');
  t.same(done, ['install', 'del one', 'remove', 'del one', 'remove']);
  t.same(fixture.listed(), []);
  t.equal(open.size, 0);
});

t.test('a pod that waits to be taken over is replaced when it is enrolled', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  const fixture = make();
  const { agent, done } = fixture;
  fixture.failAt = 'install';
  await agent.restore([pod()]);
  await t.rejects(agent.enrol(pod()), { code: 'unavailable' });
  t.same(fixture.listed(), [], 'it is not captured then, and not kept');
  fixture.failAt = '';
  done.length = 0;
  mock.timers.tick(retryMaxMs);
  await settle();
  t.same(done, []);
});

t.test('pods that wait to be taken over count', async (t) => {
  const fixture = make();
  fixture.failAt = 'install';
  const uids = Array.from({ length: podsMax }, (_, i) => `u${i}`);
  await fixture.agent.restore(uids.map((uid) => pod({ uid })));
  await t.rejects(fixture.agent.enrol(pod()), { code: 'limit' });
});

t.test('rules are not renewed for a pod that is being un-enrolled', async (t) => {
  const fixture = make();
  const { agent, done, open } = fixture;
  await agent.enrol(pod());
  done.length = 0;
  fixture.epoch = 'e2';
  const gate = Promise.withResolvers<void>();
  fixture.hold = () => gate.promise;
  const unenrolled = agent.unenrol('one');
  const snapshot = agent.snapshot();
  await settle();
  gate.resolve();
  await unenrolled;
  t.same(await snapshot, []);
  t.same(done, ['del one', 'remove']);
  t.equal(open.size, 0);
});

t.test('an un-enrolment waits for a renewal, so that no rules come back', async (t) => {
  const fixture = make();
  const { agent, done } = fixture;
  await agent.enrol(pod());
  done.length = 0;
  fixture.epoch = 'e2';
  const gate = Promise.withResolvers<void>();
  fixture.hold = () => gate.promise;
  const snapshot = agent.snapshot();
  const unenrolled = agent.unenrol('one');
  await settle();
  t.same(done, ['install']);
  gate.resolve();
  await Promise.all([snapshot, unenrolled]);
  t.same(done, ['install', 'del one', 'remove']);
});

t.test(
  'what the mesh says counts for pods that say nothing, at once and over a restart',
  async (t) => {
    const { agent, done, wants, meshes } = make();
    await agent.enrol(pod());
    await agent.setMesh({ sameNode: 'tunnel' });
    t.match(wants, [{ sameNode: undefined }, { sameNode: 'tunnel' }]);
    t.same(done, ['install', 'add one true', 'install', 'add one true'], 'the proxy looks again');
    await agent.setMesh({ sameNode: 'tunnel' });
    t.equal(done.length, 4, 'what is said again changes nothing');
    t.same(meshes, [{ sameNode: 'tunnel' }]);
    const later = make({ sameNode: 'tunnel' });
    await later.agent.restore([pod()]);
    t.match(later.wants, [{ sameNode: 'tunnel' }]);
  },
);

t.test("the mesh's way of capture counts from the next enrolment on", async (t) => {
  const { agent, wants, listed } = make({ capture: 'nft' });
  await agent.enrol(pod());
  await agent.setMesh({ capture: 'ebpf' });
  t.match(wants, [{ capture: undefined, preferred: 'nft' }], 'it stays as it is');
  t.match(listed(), [{ meshCapture: 'nft' }]);
  const later = make({ capture: 'ebpf' });
  await later.agent.restore(listed());
  t.match(later.wants, [{ preferred: 'nft' }], 'over a restart, too');
  await agent.unenrol('one');
  await agent.enrol(pod());
  t.match(wants.at(-1), { preferred: 'ebpf' });
});

t.test('a pod goes before its namespace, and both before the mesh', async (t) => {
  const { agent, wants } = make({ sameNode: 'tunnel', capture: 'nft' });
  const ofNamespace = { sameNode: 'direct', capture: 'ebpf' } as const;
  await agent.enrol(pod({ ofNamespace }));
  t.match(wants.at(-1), { sameNode: 'direct', capture: 'ebpf' });
  await agent.enrol(pod({ ofNamespace, sameNode: 'tunnel' }));
  t.match(wants.at(-1), { sameNode: 'tunnel', capture: 'ebpf' });
  await agent.setMesh({ sameNode: 'direct' });
  t.equal(wants.length, 2, 'it has its own');
});

t.test('a running pod that wants other settings stays captured and carried', async (t) => {
  const { agent, done, open, listed } = make();
  await agent.enrol(pod());
  await agent.enrol(pod({ sameNode: 'tunnel', bypass: 'none' }));
  t.same(done, ['install', 'add one true', 'install', 'add one true']);
  t.equal(open.size, 1);
  t.match(listed(), [{ sameNode: 'tunnel' }]);
  t.match(agent.list(), [{ sameNode: 'tunnel' }]);
  await agent.enrol(pod({ sameNode: 'tunnel', bypass: 'none', capture: 'nft' }));
  t.same(
    done.slice(4),
    ['del one', 'remove', 'install', 'add one true'],
    'but for another capture',
  );
});

t.test('settings that cannot be put into force are tried again', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  const fixture = make();
  const { agent, done, wants } = fixture;
  await agent.enrol(pod());
  fixture.failAt = 'install';
  await agent.setMesh({ sameNode: 'tunnel' });
  t.same(done.slice(2), ['install'], 'the proxy is not told yet');
  fixture.failAt = '';
  mock.timers.tick(retryMaxMs);
  await settle();
  t.same(done.slice(3), ['install', 'add one true']);
  t.match(wants.at(-1), { sameNode: 'tunnel' });
});

t.test('it is told what counts for each pod, and who said it', async (t) => {
  const { agent } = make({ sameNode: 'tunnel' });
  await agent.enrol(pod());
  const node = { capture: 'ebpf', hasEbpf: true, sameNode: 'direct', bypass: 'none' } as const;
  t.match(agent.settings(node), {
    mesh: { sameNode: 'tunnel' },
    pods: [{ uid: 'one', sameNode: { value: 'tunnel', from: 'mesh' }, capture: { from: 'node' } }],
  });
});

t.test('settings from before a pod was captured are put back, also by a later run', async (t) => {
  const { agent, formers, listed } = make();
  await agent.enrol(pod());
  t.match(listed(), [{ former }]);
  const later = make();
  await later.agent.restore(listed());
  await later.agent.enrol(pod());
  await later.agent.unenrol('one');
  t.same(later.formers, [former]);
  await agent.unenrol('one');
  t.same(formers, [former]);
  const old = make();
  await old.agent.restore([pod()]);
  await old.agent.unenrol('one');
  t.same(old.formers, [undefined], 'of an older run it is not known');
});
