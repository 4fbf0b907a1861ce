// SPDX-License-Identifier: Apache-2.0
// In what order the parts of a test run go, and which of them at the same time.
import { MeshError } from '../src/lib/error.ts';
import { type Tally, tallyOne } from './tally.ts';

/** What came of a part. */
export interface Outcome {
  readonly tally: Tally;
  /** What its reader has to see; empty when all is well. */
  readonly output: string;
}

/** One part of a run. */
export interface Job {
  readonly name: string;
  run(): Promise<Outcome>;
}

/** A part that the others wait for, since a compiler takes the whole machine. */
export interface Build extends Job {
  /** Parts that need this one, and are left out when it fails. */
  readonly then: readonly Job[];
}

/** Parts that go one after the other, `width` at once. */
export interface Lane {
  readonly width: number;
  readonly jobs: readonly Job[];
  /** What goes before all lanes. Those that need it stand before the lane's other jobs. */
  readonly builds?: readonly Build[];
}

/** A part that has ended. */
export interface Done extends Outcome {
  readonly name: string;
  readonly seconds: number;
}

async function settle(job: Job, onDone: (done: Done) => void): Promise<Done> {
  const start = performance.now();
  const outcome = await job.run().catch((thrown: unknown): Outcome => {
    const { message } = MeshError.from(thrown);
    return { tally: tallyOne(job.name, 'it could not be run'), output: message };
  });
  const done = { ...outcome, name: job.name, seconds: (performance.now() - start) / 1000 };
  onDone(done);
  return done;
}

async function runLane({ width, jobs }: Lane, onDone: (done: Done) => void): Promise<Done[]> {
  const waiting = [...jobs];
  const ended: Done[] = [];
  const running = new Set<Promise<void>>();
  const start = (job: Job): void => {
    const work = settle(job, onDone).then((done) => {
      running.delete(work);
      ended.push(done);
    });
    running.add(work);
  };
  while (waiting.length > 0 || running.size > 0) {
    while (running.size < width && waiting.length > 0) {
      start(waiting.shift() as Job);
    }
    await Promise.race(running);
  }
  return ended;
}

/** The lane's builds have ended: what came of them, and the lane as it goes on. */
async function runBuilds(
  { builds = [], ...lane }: Lane,
  onDone: (done: Done) => void,
): Promise<{ readonly ended: readonly Done[]; readonly lane: Lane }> {
  const ended: Done[] = [];
  const ready: Job[] = [];
  for (const build of builds) {
    const done = await settle(build, onDone);
    ended.push(done);
    ready.push(...(done.tally.failed === 0 ? build.then : []));
  }
  return { ended, lane: { ...lane, jobs: [...ready, ...lane.jobs] } };
}

/**
 * Runs what is to be built, one after the other, then all lanes side by side, and then the jobs of
 * `alone`, one at a time with nothing beside them. A job that rejects has failed; it ends nothing but
 * itself, and what needs it. `onDone` is told each as it ends.
 */
export async function runJobs(
  lanes: readonly Lane[],
  alone: readonly Job[],
  onDone: (done: Done) => void,
): Promise<Done[]> {
  const all: Done[] = [];
  const built: Lane[] = [];
  for (const each of lanes) {
    const { ended, lane } = await runBuilds(each, onDone);
    all.push(...ended);
    built.push(lane);
  }
  const beside = await Promise.all(built.map((lane) => runLane(lane, onDone)));
  return [...all, ...beside.flat(), ...(await runLane({ width: 1, jobs: alone }, onDone))];
}

const row = (seconds: number, text: string): string =>
  `${seconds.toFixed(1).padStart(8)} s  ${text}\n`;

/** What is printed of a part as it ends: a line, and what its reader has to see. */
export function lineOf({ name, tally, output, seconds }: Done): string {
  const failed = tally.failed === 0 ? '' : `  FAILED ${tally.failed}`;
  const shown = output === '' ? '' : `${output.trimEnd()}\n`;
  return `${row(seconds, `${name}  ${tally.passed}${failed}`)}${shown}`;
}

/** A table of the `count` parts that took longest. */
export function slowestOf(all: readonly Done[], count: number): string {
  const slowest = [...all].sort((a, b) => b.seconds - a.seconds).slice(0, count);
  const rows = slowest.map(({ seconds, name }) => row(seconds, name));
  return [`\nthe slowest ${slowest.length} of ${all.length} parts:\n`, ...rows, '\n'].join('');
}
