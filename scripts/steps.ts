// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { MeshError } from '../src/lib/error.ts';

/** Only the end of a failed command's output is worth a reader's time. */
const tailBytesMax = 8192;

/** Root of the clone. */
export const root: string = new URL('..', import.meta.url).pathname.replace(/\/$/, '');

export interface CommandOptions {
  readonly cwd?: string;
  /** Added to our own environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Written to the command's standard input, which is empty otherwise. */
  readonly input?: string;
}

/**
 * Runs a command and returns what it wrote to stdout and stderr together. Throws MeshError
 * `internal` with the end of that output when it cannot start or does not exit 0.
 */
export function run(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, [...args], {
      cwd: options.cwd ?? root,
      env: { ...process.env, ...options.env },
      stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    });
    let output = '';
    const take = (chunk: Buffer): void => {
      output += chunk.toString();
    };
    child.stdout?.on('data', take);
    child.stderr?.on('data', take);
    child.stdin?.end(options.input);
    child.on('error', (cause) => reject(MeshError.from(cause)));
    child.on('close', (code, signal) => {
      if (code === 0) {
        resolve(output);
      } else {
        const how = signal === null ? `exit code ${code}` : signal;
        const shown = [command, ...args].join(' ');
        reject(new MeshError('internal', `${shown}: ${how}\n${output.slice(-tailBytesMax)}`));
      }
    });
  });
}

/** Runs one step of a longer job and prints its name and time, in the launcher's layout. */
export async function step<T>(
  name: string,
  work: () => Promise<T>,
  print: (text: string) => void = (text) => process.stdout.write(text),
): Promise<T> {
  const start = performance.now();
  print(`  ${name.padEnd(24)}`);
  try {
    const value = await work();
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    print(`${seconds.padStart(7)} s\n`);
    return value;
  } catch (error) {
    print('failed\n');
    throw error;
  }
}
