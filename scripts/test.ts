// SPDX-License-Identifier: Apache-2.0
// Every test of the project, in all its languages; the last line printed holds the counts.
// Arguments choose parts: unit, fuzz, or paths of TypeScript tests. Started by the launcher.
import { spawn } from 'node:child_process';
import { globSync, mkdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { MeshError } from '../src/lib/error.ts';
import { buildLane, type Lane } from './build.ts';
import { dependencyPrefix } from './deps.ts';
import { root } from './steps.ts';
import { reportOf, sumOf, type Tally, tallyOne, tallyTap } from './tally.ts';

const unitLanes: readonly Lane[] = [
  { name: 'asan', sanitize: 'address,undefined' },
  { name: 'tsan', sanitize: 'thread' },
];
const fuzzLane: Lane = { name: 'fuzz', sanitize: '', compilers: ['clang-14', 'clang++-14'] };

const unitTimeoutMs = 300_000;
const tapTimeoutMs = 2_400_000;
/** Fuzzers at work at once. */
const fuzzersMax = 2;
const fuzzSeconds = Number(
  process.env['WEFT_FUZZ_SECONDS'] ?? (process.env['CI'] === 'true' ? 30 : 5),
);
/** Lines of a failed program's errors that are shown. */
const errorLinesMax = 60;

interface Ended {
  readonly stdout: string;
  /** Why it did not end well; undefined for exit code 0. */
  readonly failure: string | undefined;
}

interface Program {
  readonly file: string;
  readonly args: readonly string[];
  readonly timeoutMs: number;
  readonly env?: Readonly<Record<string, string>>;
  /** Called with each complete line of its standard output. */
  readonly onLine?: (line: string) => void;
}

function runToEnd(program: Program): Promise<Ended> {
  return new Promise((resolve) => {
    const child = spawn(program.file, [...program.args], {
      cwd: root,
      env: { ...process.env, ...program.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: program.timeoutMs,
      killSignal: 'SIGKILL',
    });
    let stdout = '';
    let stderr = '';
    let seen = 0;
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      for (let end = stdout.indexOf('\n', seen); end >= 0; end = stdout.indexOf('\n', seen)) {
        program.onLine?.(stdout.slice(seen, end));
        seen = end + 1;
      }
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', (error) => resolve({ stdout, failure: error.message }));
    child.on('close', (code, signal) => {
      if (code === 0) {
        resolve({ stdout, failure: undefined });
        return;
      }
      const tail = stderr.split('\n').slice(-errorLinesMax).join('\n');
      process.stderr.write(tail);
      resolve({ stdout, failure: signal === null ? `exit code ${code}` : `ended by ${signal}` });
    });
  });
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** A program that exits badly although no test point failed has failed all the same. */
function tallyOf(ended: Ended, name: string): Tally {
  const tally = tallyTap(ended.stdout, name, name === 'tap' ? '' : name);
  return tally.failed === 0 && ended.failure !== undefined
    ? sumOf([tally, tallyOne(name, ended.failure)])
    : tally;
}

async function built(lane: Lane, prefix: string, targets: readonly string[]): Promise<Tally> {
  const start = performance.now();
  try {
    await buildLane(lane, prefix, targets);
    say(`built ${lane.name} in ${((performance.now() - start) / 1000).toFixed(1)} s`);
    return sumOf([]);
  } catch (error) {
    say(MeshError.from(error).message);
    return tallyOne(`build of ${lane.name}`, 'failed');
  }
}

async function unitTests(prefix: string): Promise<Tally[]> {
  const tallies: Tally[] = [];
  for (const lane of unitLanes) {
    const build = await built(lane, prefix, ['unit']);
    tallies.push(build);
    if (build.failed === 0) {
      const ended = await runToEnd({
        file: join(root, 'build', lane.name, 'unit'),
        args: [],
        timeoutMs: unitTimeoutMs,
        onLine: (line) => (/^(not ok| {2}#)/.test(line) ? say(line) : undefined),
      });
      const tally = tallyOf(ended, `unit (${lane.name})`);
      say(`unit (${lane.name}): ${tally.passed} passed, ${tally.failed} failed`);
      tallies.push(tally);
    }
  }
  return tallies;
}

async function fuzz(name: string): Promise<Tally> {
  const folder = join(root, 'build', fuzzLane.name);
  const found = join(folder, 'found', name);
  mkdirSync(found, { recursive: true });
  const seeds = globSync(`test/fuzz/corpus/${name}`, { cwd: root });
  const ended = await runToEnd({
    file: join(folder, `fuzz_${name}`),
    args: [
      ...[`-max_total_time=${fuzzSeconds}`, '-timeout=10', '-rss_limit_mb=2048'],
      ...['-print_final_stats=1', `-artifact_prefix=${folder}/${name}-`, found, ...seeds],
    ],
    timeoutMs: (fuzzSeconds + 60) * 1000,
  });
  say(`fuzz ${name} for ${fuzzSeconds} s: ${ended.failure ?? 'ok'}`);
  return tallyOne(`fuzz ${name}`, ended.failure);
}

async function fuzzTests(prefix: string): Promise<Tally[]> {
  const names = globSync('test/fuzz/*.cc', { cwd: root }).map((file) => basename(file, '.cc'));
  const build = await built(
    fuzzLane,
    prefix,
    names.map((name) => `fuzz_${name}`),
  );
  const tallies = [build];
  const waiting = build.failed === 0 ? names.sort() : [];
  const worker = async (): Promise<void> => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      tallies.push(await fuzz(name));
    }
  };
  await Promise.all(Array.from({ length: fuzzersMax }, worker));
  return tallies;
}

/** One line a file; the lines of what failed inside it are shown before, as TAP has them. */
function tapPrinter(): (line: string) => void {
  let failing = false;
  return (line) => {
    if (/^(not )?ok /.test(line)) {
      say(line.replace(/ # time=/, '  '));
      failing = false;
      return;
    }
    if (/^\s+(not )?ok /.test(line)) {
      failing = /^\s+not ok /.test(line);
    }
    if (failing) {
      say(line);
    }
  };
}

async function tapTests(paths: readonly string[], coverage: boolean): Promise<Tally[]> {
  const ended = await runToEnd({
    file: join(root, 'node_modules/.bin/tap'),
    args: [
      ...['run', '--reporter=tap'],
      coverage ? '--allow-incomplete-coverage' : '--disable-coverage',
      ...paths,
    ],
    timeoutMs: tapTimeoutMs,
    // Its own first line asks for "node", which must not be an older one of the system.
    env: { PATH: `${join(root, 'node_modules/.bin')}:${process.env['PATH'] ?? ''}` },
    onLine: tapPrinter(),
  });
  return [tallyOf(ended, 'tap')];
}

async function main(argv: readonly string[]): Promise<number> {
  const coverage = argv.includes('--coverage');
  const chosen = argv.filter((arg) => !arg.startsWith('--'));
  const paths = chosen.filter((arg) => arg !== 'unit' && arg !== 'fuzz');
  const all = chosen.length === 0;
  const tallies: Tally[] = [];
  const prefix = await dependencyPrefix();
  if (all || chosen.includes('unit')) {
    tallies.push(...(await unitTests(prefix)));
  }
  if (all || chosen.includes('fuzz')) {
    tallies.push(...(await fuzzTests(prefix)));
  }
  if (all || paths.length > 0) {
    tallies.push(...(await tapTests(paths, coverage)));
  }
  const sum = sumOf(tallies);
  process.stdout.write(reportOf(sum));
  return sum.failed === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
