// SPDX-License-Identifier: Apache-2.0
// Runs one program to its end: arguments as an array, never through a shell.
import { spawn } from 'node:child_process';
import { MeshError } from './error.ts';

/** How a program ended and what it printed. */
export interface ProgramResult {
  /** The exit code; 128 + signal number is not used: a signal leaves -1 and its name in `signal`. */
  readonly code: number;
  readonly signal: string;
  readonly stdout: string;
  readonly stderr: string;
}

/** Settings of one run. */
export interface ProgramOptions {
  /** Written to its standard input, which is then closed. */
  readonly input?: string;
  /** After this the program is killed and the run fails with `timeout`. Default 10 s. */
  readonly timeoutMs?: number;
  /** Bytes of standard output kept; more than this fails with `limit`. Default 16 MiB. */
  readonly outputBytesMax?: number;
}

const timeoutMsDefault = 10_000;
const outputBytesMaxDefault = 16 << 20;

interface Collector {
  text(): string;
  readonly over: boolean;
}

function collect(stream: NodeJS.ReadableStream, bytesMax: number): Collector {
  const chunks: Buffer[] = [];
  let size = 0;
  stream.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size <= bytesMax) {
      chunks.push(chunk);
    }
  });
  return {
    text: () => Buffer.concat(chunks).toString('utf8'),
    get over() {
      return size > bytesMax;
    },
  };
}

/**
 * Runs `file` with `args` in the C locale and answers how it ended, whatever its exit code is.
 * Throws MeshError `unsupported` when the program is not installed, `timeout` or `limit`.
 */
export function runProgram(
  file: string,
  args: readonly string[],
  options: ProgramOptions = {},
): Promise<ProgramResult> {
  const timeoutMs = options.timeoutMs ?? timeoutMsDefault;
  const bytesMax = options.outputBytesMax ?? outputBytesMaxDefault;
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { env: { ...process.env, LC_ALL: 'C' } });
    const stdout = collect(child.stdout, bytesMax);
    const stderr = collect(child.stderr, bytesMax);
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
    }, timeoutMs);
    child.on('error', (error) => {
      clearTimeout(timer);
      reject(
        new MeshError('unsupported', `cannot run ${file}: ${error.message}`, { cause: error }),
      );
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      if (late) {
        reject(new MeshError('timeout', `${file} ${args.join(' ')} took over ${timeoutMs} ms`));
      } else if (stdout.over) {
        reject(new MeshError('limit', `${file} printed over ${bytesMax} bytes`));
      } else {
        const ended = { code: code ?? -1, signal: signal ?? '' };
        resolve({ ...ended, stdout: stdout.text(), stderr: stderr.text() });
      }
    });
    // A program that ends before it has read its input is judged by its exit code, not by EPIPE.
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input ?? '');
  });
}

/** Like `runProgram`, but a non-zero exit is MeshError `internal` with what it printed. */
export async function mustRun(
  file: string,
  args: readonly string[],
  options: ProgramOptions = {},
): Promise<string> {
  const result = await runProgram(file, args, options);
  if (result.code !== 0) {
    const how = result.signal === '' ? `exit code ${result.code}` : result.signal;
    const said = (result.stderr || result.stdout).trim();
    throw new MeshError('internal', `${file} ${args.join(' ')}: ${how}: ${said}`);
  }
  return result.stdout;
}
