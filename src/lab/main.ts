// SPDX-License-Identifier: Apache-2.0
// The verb `weft lab`.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { MeshError } from '../lib/error.ts';
import { cgroup2RootOf, describeMissing, missingOf, probeMachine } from '../lib/machine.ts';
import { bulkBytesDefault, removeLab } from './lab.ts';
import { insideOf } from './processes.ts';
import { type Report, reportOf, tableOf } from './report.ts';
import { resolvConfOf, withResolvConf } from './resolver.ts';
import { runLab } from './run.ts';
import { isAlive, loadState } from './state.ts';
import { type LabNames, labNames } from './topology.ts';

interface LabFlags {
  readonly keep: boolean;
  readonly output: 'table' | 'json';
  readonly config: string;
  readonly name: string;
  readonly bulk: number;
}

const mebibyte = 1 << 20;
/** Ten times what is sent unless it is asked for. */
const bulkMebibytesMax = (10 * bulkBytesDefault) / mebibyte;

function mebibytesOf(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1 || count > bulkMebibytesMax) {
    throw new InvalidArgumentError(`It is a whole number from 1 to ${bulkMebibytesMax}.`);
  }
  return count;
}

const defaultMesh: string = join(import.meta.dirname, 'mesh');

function namesOf(name: string): LabNames {
  const root = cgroup2RootOf(readFileSync('/proc/self/mounts', 'utf8'));
  if (root === undefined) {
    throw new MeshError('unsupported', 'cgroup v2 is not mounted; mount it or use its hybrid mode');
  }
  return labNames(name, root);
}

function print(report: Report, output: LabFlags['output']): void {
  process.stdout.write(output === 'json' ? `${JSON.stringify(report)}\n` : `\n${tableOf(report)}`);
}

// A lab that cannot be built is a report too, so that a program that reads it gets its object.
function failed(error: MeshError): Report {
  const expected = 'the lab is built and measured';
  return reportOf([{ name: 'lab', expected, seen: error.message, how: error.code, ok: false }]);
}

async function runAndPrint(flags: LabFlags): Promise<number> {
  const rows = await probeMachine();
  if (missingOf(rows).length > 0) {
    process.stderr.write(describeMissing(rows));
    return 3;
  }
  const stop = new AbortController();
  const onSignal = (): void => stop.abort();
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) {
    process.on(signal, onSignal);
  }
  const started = performance.now();
  const progress = (text: string): void => {
    const seconds = ((performance.now() - started) / 1000).toFixed(1).padStart(5);
    process.stderr.write(`${seconds} s  ${text}\n`);
  };
  try {
    const { config, keep } = flags;
    const bulkBytes = flags.bulk * mebibyte;
    const names = namesOf(flags.name);
    const report = await runLab({ names, config, keep, bulkBytes, progress, signal: stop.signal });
    print(report, flags.output);
    return report.ok ? 0 : 1;
  } catch (thrown) {
    const error = MeshError.from(thrown);
    if (error.code === 'invalid' || error.code === 'unsupported') {
      throw error;
    }
    print(failed(error), flags.output);
    return 1;
  } finally {
    for (const signal of signals) {
      process.off(signal, onSignal);
    }
  }
}

function exec(name: string, pod: string, command: readonly string[]): Promise<number> {
  const place = loadState(namesOf(name))?.pods[pod];
  if (place === undefined) {
    throw new MeshError(
      'invalid',
      `there is no pod ${pod}; "weft lab --keep" leaves a lab running`,
    );
  }
  const words = command[0] === '--' ? command.slice(1) : command;
  const inside = withResolvConf(resolvConfOf(namesOf(name), pod), words);
  const [file = '', ...args] = insideOf(place.netns, place.cgroup, inside);
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { stdio: 'inherit' });
    child.on('error', (error) => reject(MeshError.from(error)));
    child.on('exit', (code) => resolve(code ?? 1));
  });
}

async function down(name: string): Promise<number> {
  const names = namesOf(name);
  const state = loadState(names);
  if (state !== undefined && !state.kept && isAlive(state.owner)) {
    throw new MeshError('conflict', `process ${state.owner.pid} runs this lab; stop that first`);
  }
  await removeLab(names);
  return 0;
}

function commandOf(done: (code: Promise<number>) => Promise<void>): Command {
  const nameFlag = (): Option =>
    new Option('--name <name>', 'several labs can exist by name').default('lab');
  const command = new Command('weft lab')
    .description('Build two nodes of network namespaces on this machine and show the mesh at work.')
    .option('--keep', 'leave everything running afterwards', false)
    .addOption(new Option('-o, --output <form>').choices(['table', 'json']).default('table'))
    .option('--config <folder>', "the mesh's YAML", defaultMesh)
    .option(
      '--bulk <MiB>',
      'what rows about much payload send each way',
      mebibytesOf,
      bulkBytesDefault / mebibyte,
    )
    .addOption(nameFlag())
    .enablePositionalOptions()
    .exitOverride()
    .action((flags: LabFlags) => done(runAndPrint(flags)));
  command
    .command('exec')
    .description('run a command in a pod of a kept lab; its exit code is passed on')
    .argument('<pod>')
    .argument('<command...>')
    .addOption(nameFlag())
    .passThroughOptions()
    .action((pod: string, words: string[], flags: LabFlags) => done(exec(flags.name, pod, words)));
  command
    .command('down')
    .description('remove a lab that was kept or killed')
    .addOption(nameFlag())
    .action((flags: LabFlags) => done(down(flags.name)));
  return command;
}

/**
 * Runs the verb. Returns the exit code: 0 when every row of the demo holds, 1 when one does not or
 * the lab fails, 2 for bad flags, 3 when this machine lacks something; of `exec`, the command's.
 */
export async function main(argv: readonly string[]): Promise<number> {
  let code = 0;
  const command = commandOf(async (result) => {
    code = await result;
  });
  try {
    await command.parseAsync([...argv], { from: 'user' });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) {
      return error.exitCode === 0 ? 0 : 2;
    }
    throw MeshError.from(error);
  }
}
