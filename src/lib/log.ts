// SPDX-License-Identifier: Apache-2.0
import { type DestinationStream, type Logger, pino } from 'pino';

export type { Logger } from 'pino';

/** The levels a process can be told to log at. */
export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const;

/** One of the levels. */
export type LogLevel = (typeof logLevels)[number];

// Keys that must never reach a log, at the top of a record or one object down.
const secretKeys = ['key', 'privateKey', 'token', 'joinToken', 'authorization', 'secret'];

/**
 * The log of a process: JSON, one object a line, to standard output, with level names, the
 * process's name, and secrets cut out. Writing is synchronous, so that a crash loses no line.
 *
 * @param destination another sink, for tests.
 */
export function createLog(name: string, level: LogLevel, destination?: DestinationStream): Logger {
  return pino(
    {
      name,
      level,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: {
        paths: secretKeys.flatMap((key) => [key, `*.${key}`]),
        censor: '[secret]',
      },
    },
    destination ?? pino.destination({ dest: 1, sync: true }),
  );
}

/** Bytes of log lines that wait for whoever reads them; what comes beyond is dropped. */
export const sinkBytesMax: number = 8 << 20;

/**
 * Standard output for a process that must not wait for its reader: lines are written in the
 * background, and many at once when they come fast. Lines ready made go in between the log's own,
 * whole. Main thread only.
 */
export class LogSink {
  readonly destination: ReturnType<typeof pino.destination>;
  #dropped = 0;

  /** @param fd where the lines go; standard output unless a test says otherwise. */
  constructor(fd = 1) {
    this.destination = pino.destination({ dest: fd, sync: false, maxLength: sinkBytesMax });
    this.destination.on('drop', () => {
      this.#dropped += 1;
    });
    // A reader that has gone away is no reason to end.
    this.destination.on('error', () => undefined);
  }

  /** Writes that were dropped, the reader being too slow. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Writes whole lines of ASCII. */
  write(lines: Uint8Array): void {
    this.destination.write(
      Buffer.from(lines.buffer, lines.byteOffset, lines.length).toString('latin1'),
    );
  }

  /** Writes what waits, now. For the end of the process. */
  flush(): void {
    try {
      this.destination.flushSync();
    } catch {
      // There is nobody left to tell.
    }
  }
}
