// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap';
import { restartAll } from '../../../src/bench/bench-lab.ts';
import { bare } from '../../../src/bench/variants/bare.ts';
import type { Lab } from '../../../src/lab/lab.ts';

/** A lab without processes, which notes in which pods something was run. */
function emptyLab(t: Test): { lab: Lab; ran: string[] } {
  const ran: string[] = [];
  const inPod = async (pod: string) => {
    ran.push(pod);
    return { code: 0, signal: '', stdout: '', stderr: '' };
  };
  const plan = { nodes: [], names: { cgroup: t.testdir() } };
  return { ran, lab: { plan, inPod, pod: () => ({ ipv4: '10.0.0.1' }) } as unknown as Lab };
}

const options = { engine: [], sessions: true };

const lame = {
  ...bare,
  name: 'lame',
  start: async () => {
    throw new Error('no start');
  },
};

t.test('a variant that does not start is told, and the others go on', async (t) => {
  const { lab, ran } = emptyLab(t);
  const failed: unknown[] = [];
  await restartAll(lab, [lame, bare], options, (variant, error) =>
    failed.push(variant.name, error),
  );
  t.match(failed, ['lame', { message: 'no start' }]);
  t.strictSame([...new Set(ran)], ['bare-client'], 'only what has started is warmed up');
});

t.test('later on none may fail to start', async (t) => {
  await t.rejects(restartAll(emptyLab(t).lab, [lame, bare], options), { message: 'no start' });
});
