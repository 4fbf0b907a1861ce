// SPDX-License-Identifier: Apache-2.0
// One whole run of the lab: build, show, take down, whatever happens in between.
import { MeshError } from '../lib/error.ts';
import { runDemo } from './demo.ts';
import { Lab, type LabOptions, removeLab } from './lab.ts';
import { type Report, reportOf } from './report.ts';

/** How a lab is run. */
export interface RunOptions extends LabOptions {
  /** Leave it running afterwards, unless it could not be built. */
  readonly keep: boolean;
  /** Ends the run early; everything is then removed. */
  readonly signal: AbortSignal;
  /** Called with the running lab before the first row is measured. */
  readonly beforeDemo?: (lab: Lab) => Promise<void>;
}

const settleMs = 3_000;

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const fail = (): void => reject(new MeshError('unavailable', 'interrupted'));
    if (signal.aborted) {
      fail();
    }
    signal.addEventListener('abort', fail, { once: true });
  });
}

async function show(lab: Lab, options: RunOptions): Promise<Report> {
  await lab.start();
  await options.beforeDemo?.(lab);
  options.progress('demo');
  const rows = await runDemo(lab, (row) =>
    options.progress(`  ${row.ok ? 'ok' : 'FAIL'} ${row.name}`),
  );
  return reportOf(rows);
}

// What was under way when the run was interrupted may still make things: it is let run into the
// ruins of the lab, and then they are cleared.
async function clear(lab: Lab, work: Promise<unknown>): Promise<void> {
  await lab.stop();
  const settled = work.catch(() => undefined);
  await Promise.race([settled, new Promise((resolve) => setTimeout(resolve, settleMs).unref())]);
  await removeLab(lab.plan.names);
}

/**
 * Builds the lab, measures every row and removes the lab. Rejects with MeshError when it cannot be
 * built or is interrupted, and then too nothing is left behind.
 */
export async function runLab(options: RunOptions): Promise<Report> {
  const lab = await Lab.prepare(options);
  const work = show(lab, options);
  try {
    const report = await Promise.race([work, aborted(options.signal)]);
    if (options.keep) {
      lab.keep();
    } else {
      options.progress('taking down');
      await lab.stop();
    }
    return report;
  } catch (error) {
    await clear(lab, work);
    throw MeshError.from(error);
  }
}
