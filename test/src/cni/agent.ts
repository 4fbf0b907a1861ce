// SPDX-License-Identifier: Apache-2.0
// Real namespace files; capture and proxy are fakes that write down what they are asked.
import { fstatSync, openSync } from 'node:fs';
import t from 'tap';
import { closeFd } from '../../../native/index.ts';
import { Agent, type PodEnrolment } from '../../../src/cni/agent.ts';
import { MeshError } from '../../../src/lib/error.ts';
import { createLog } from '../../../src/lib/log.ts';

interface Fixture {
  readonly agent: Agent;
  /** What was done, in order. */
  readonly done: string[];
  readonly saved: PodEnrolment[][];
  /** Descriptors that are open. */
  readonly open: Set<number>;
  epoch: string;
  failAt: string;
}

function make(): Fixture {
  const done: string[] = [];
  const saved: PodEnrolment[][] = [];
  const open = new Set<number>();
  const step = async (what: string): Promise<void> => {
    done.push(what);
    if (what.startsWith(fixture.failAt) && fixture.failAt !== '') {
      throw new MeshError('unavailable', `${what} failed`);
    }
  };
  const agent = new Agent({
    capture: {
      install: () => step('install'),
      remove: () => step('remove'),
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
    save: (pods) => saved.push([...pods]),
    log: createLog('test', 'silent'),
  });
  const fixture: Fixture = { agent, done, saved, open, epoch: 'e1', failAt: '' };
  return fixture;
}

function pod(change: Partial<PodEnrolment> = {}): PodEnrolment {
  const netns = '/proc/self/ns/net';
  return { uid: 'one', name: 'one', namespace: 'demo', serviceAccount: 'web', netns, ...change };
}

t.test('a pod is captured before the proxy hears of it, and until it let go', async (t) => {
  const { agent, done, saved, open } = make();
  await agent.enrol(pod());
  t.same(agent.list(), [pod()]);
  await agent.unenrol('one');
  t.same(done, ['install', 'add one true', 'del one', 'remove']);
  t.same(saved, [[pod()], []]);
  t.equal(open.size, 0);
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
  const { agent, done, open } = make();
  await t.rejects(agent.enrol(pod({ netns: '/etc/hosts' })), { code: 'invalid' });
  await t.rejects(agent.enrol(pod({ netns: '/no/such/file' })), { code: 'unavailable' });
  t.same(done, []);
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

t.test('a restarted agent captures its pods again and forgets those that are gone', async (t) => {
  const { agent, done, saved } = make();
  await agent.restore([pod(), pod({ uid: 'two', netns: '/no/such/file' })]);
  t.same(done, ['install']);
  t.same(saved, [[pod()]]);
  t.match(await agent.snapshot(), [{ uid: 'one' }]);
});
