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
