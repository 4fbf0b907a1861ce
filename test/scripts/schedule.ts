// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import {
  type Build,
  type Done,
  type Job,
  lineOf,
  type Outcome,
  runJobs,
  slowestOf,
} from '../../scripts/schedule.ts';
import { tallyOne } from '../../scripts/tally.ts';

const passed = (name: string): Outcome => ({ tally: tallyOne(name, undefined), output: '' });
const failed = (name: string): Outcome => ({ tally: tallyOne(name, 'broken'), output: 'why' });

/** Jobs that end when they are told to, and what has begun so far. */
class Bench {
  readonly begun: string[] = [];
  readonly done: string[] = [];
  readonly #ends = new Map<string, (outcome: Outcome) => void>();

  job(name: string): Job {
    const run = (): Promise<Outcome> => {
      this.begun.push(name);
      return new Promise((resolve) => this.#ends.set(name, resolve));
    };
    return { name, run };
  }

  build(name: string, then: readonly Job[]): Build {
    return { ...this.job(name), then };
  }

  async end(name: string, outcome: Outcome = passed(name)): Promise<void> {
    this.#ends.get(name)?.(outcome);
    while (!this.done.includes(name)) {
      await new Promise(setImmediate);
    }
    await new Promise(setImmediate);
  }

  /** What has begun, once all that can begin has. */
  async started(): Promise<readonly string[]> {
    await new Promise(setImmediate);
    return this.begun;
  }

  readonly onDone = ({ name }: Done): void => {
    this.done.push(name);
  };
}

t.test('a lane has so many jobs at work as it is wide, in their order', async (t) => {
  const bench = new Bench();
  const jobs = ['a', 'b', 'c'].map((name) => bench.job(name));
  const ended = runJobs([{ width: 2, jobs }], [], bench.onDone);
  t.same(await bench.started(), ['a', 'b']);
  await bench.end('b');
  t.same(bench.begun, ['a', 'b', 'c']);
  await bench.end('a');
  await bench.end('c');
  t.same(
    (await ended).map(({ name }) => name),
    ['b', 'a', 'c'],
  );
});

t.test('lanes go side by side, and what has to be alone comes after all of them', async (t) => {
  const bench = new Bench();
  const lanes = ['a', 'b'].map((name) => ({ width: 1, jobs: [bench.job(name)] }));
  const ended = runJobs(lanes, [bench.job('x'), bench.job('y')], bench.onDone);
  t.same(await bench.started(), ['a', 'b']);
  await bench.end('a');
  t.same(bench.begun, ['a', 'b'], 'nothing is alone while something runs');
  await bench.end('b');
  t.same(bench.begun, ['a', 'b', 'x'], 'nor are two of them');
  await bench.end('x');
  await bench.end('y');
  t.equal((await ended).length, 4);
});

t.test('what is built goes before all else, one at a time', async (t) => {
  const bench = new Bench();
  const builds = ['one', 'two'].map((name) => bench.build(name, [bench.job(`run ${name}`)]));
  const lanes = [
    { width: 1, jobs: [bench.job('other')] },
    { width: 3, jobs: [bench.job('last')], builds },
  ];
  const ended = runJobs(lanes, [], bench.onDone);
  t.same(await bench.started(), ['one'], 'no other build, and no lane');
  await bench.end('one');
  t.same(bench.begun, ['one', 'two']);
  await bench.end('two');
  t.same(bench.begun, ['one', 'two', 'other', 'run one', 'run two', 'last']);
  for (const name of ['other', 'run one', 'run two', 'last']) {
    await bench.end(name);
  }
  t.equal((await ended).length, 6);
});

t.test('what needs a build that fails is left out, and the others go on', async (t) => {
  const bench = new Bench();
  const builds = [
    bench.build('broken', [bench.job('never')]),
    bench.build('good', [bench.job('run')]),
  ];
  const ended = runJobs([{ width: 1, jobs: [], builds }], [], bench.onDone);
  await bench.end('broken', failed('broken'));
  await bench.end('good');
  await bench.end('run');
  t.same(bench.begun, ['broken', 'good', 'run']);
  const failures = (await ended).flatMap(({ tally }) => tally.failures);
  t.same(failures, ['broken: broken']);
});

t.test('a job that rejects has failed, with its reason, and the others go on', async (t) => {
  const run = (): Promise<Outcome> => Promise.reject(new Error('no such program'));
  const other: Job = { name: 'b', run: async () => passed('b') };
  const [first, second] = await runJobs(
    [{ width: 1, jobs: [{ name: 'a', run }, other] }],
    [],
    () => {},
  );
  t.match(first, { name: 'a', tally: { failed: 1 }, output: 'no such program' });
  t.match(second, { name: 'b', tally: { passed: 1, failed: 0 } });
});

const ended = (name: string, seconds: number, outcome: Outcome): Done => ({
  ...outcome,
  ...{ name, seconds },
});

t.test('the line of a job has its time and counts, and says why it failed', async (t) => {
  t.equal(lineOf(ended('fast', 0.25, passed('fast'))), '     0.3 s  fast  1\n');
  t.equal(lineOf(ended('bad', 61, failed('bad'))), '    61.0 s  bad  0  FAILED 1\nwhy\n');
});

t.test('the table has the slowest jobs, slowest first', async (t) => {
  const all = [1, 3, 2].map((seconds) => ended(`job ${seconds}`, seconds, passed('x')));
  t.equal(
    slowestOf(all, 2),
    '\nthe slowest 2 of 3 parts:\n     3.0 s  job 3\n     2.0 s  job 2\n\n',
  );
});
