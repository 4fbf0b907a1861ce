// SPDX-License-Identifier: Apache-2.0
// Waits for a line in a process's log.
import { closeSync, fstatSync, openSync, readSync, statSync, watch } from 'node:fs';
import { MeshError } from '../lib/error.ts';

/** One line of a JSON log. */
export type LogRecord = Readonly<Record<string, unknown>>;

/** Largest piece of a log that is read at once, in bytes. */
const pieceBytes: number = 1 << 20;

/** Where a log ends now: what is written from here on is new. */
export function endOfLog(path: string): number {
  return statSync(path).size;
}

function recordOf(line: string): LogRecord | undefined {
  if (!line.startsWith('{')) {
    return undefined;
  }
  try {
    return JSON.parse(line) as LogRecord;
  } catch {
    return undefined;
  }
}

/** The whole JSON lines of a log from byte `from` on, and where the last of them ends. */
export function readLog(path: string, from: number): { records: LogRecord[]; end: number } {
  const file = openSync(path, 'r');
  try {
    const piece = Buffer.alloc(Math.min(pieceBytes, Math.max(0, fstatSync(file).size - from)));
    const size = readSync(file, piece, 0, piece.length, from);
    const whole = piece.subarray(0, piece.subarray(0, size).lastIndexOf(0x0a) + 1);
    const records = whole.toString('utf8').split('\n').map(recordOf);
    return { records: records.filter((each) => each !== undefined), end: from + whole.length };
  } finally {
    closeSync(file);
  }
}

/**
 * Resolves with the first record from byte `from` on that `wanted` takes. Rejects with MeshError
 * `timeout` that says `what` was waited for.
 */
export function waitForRecord(
  path: string,
  from: number,
  wanted: (record: LogRecord) => boolean,
  what: string,
  timeoutMs = 5_000,
): Promise<LogRecord> {
  return new Promise((resolve, reject) => {
    let at = from;
    const finish = (work: () => void): void => {
      clearTimeout(timer);
      watcher.close();
      work();
    };
    const look = (): void => {
      for (let more = true; more; ) {
        const { records, end } = readLog(path, at);
        more = end > at;
        at = end;
        const found = records.find(wanted);
        if (found !== undefined) {
          finish(() => resolve(found));
          return;
        }
      }
    };
    const watcher = watch(path, look);
    const late = (): void =>
      reject(new MeshError('timeout', `${what}: not within ${timeoutMs} ms`));
    const timer = setTimeout(() => finish(late), timeoutMs);
    look();
  });
}
