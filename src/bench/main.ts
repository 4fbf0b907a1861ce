// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { Lab } from '../lab/lab.ts';
import { labNames } from '../lab/topology.ts';
import { MeshError } from '../lib/error.ts';
import { cgroup2RootOf } from '../lib/machine.ts';
import { runProgram } from '../lib/program.ts';
import { benchTunnel, pin, type Result } from './tunnel.ts';
import { workloads } from './workloads.ts';

const root = join(import.meta.dirname, '../..');
const tools = ['sockperf', 'wrk', 'iperf3', 'taskset'];

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 100) {
    throw new InvalidArgumentError('a whole number from 1 to 100 is expected');
  }
  return value;
}

async function checkTools(): Promise<void> {
  const found = await Promise.all(tools.map((tool) => runProgram('which', [tool])));
  const missing = tools.filter((_, index) => found[index]?.code !== 0);
  if (missing.length > 0) {
    const line = `apt-get install -y --no-install-recommends ${missing.join(' ')}`;
    throw new MeshError('unsupported', `load tools are missing: run  ${line}`);
  }
}

function show(value: number): string {
  return value >= 1000 ? value.toFixed(0) : value.toPrecision(3);
}

/** The results as a table: median, and range in brackets. */
export function tableOf(results: readonly Result[]): string {
  const head = ['workload', 'variant', 'median (min..max)', 'ratio to bare', 'CPU of both proxies'];
  const rows = results.map((result) => {
    const { spread, ratioToBare: ratio, proxyCpu: cpu } = result;
    return [
      `${result.workload}: ${result.metric}`,
      result.variant,
      `${show(spread.median)} ${result.unit} (${show(spread.min)}..${show(spread.max)})`,
      ratio === undefined ? '1' : `${show(ratio.median)} (${show(ratio.min)}..${show(ratio.max)})`,
      cpu === undefined ? '' : `${show(cpu.spread.median)} ${cpu.unit}`,
    ];
  });
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  const lines = all.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  return `${lines.join('\n')}\n`;
}

function save(results: readonly Result[], options: { rounds: number; seconds: number }): string {
  const folder = join(root, 'bench/results');
  mkdirSync(folder, { recursive: true });
  const date = new Date().toISOString();
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, kernel: release() };
  const slug = machine.cpu.toLowerCase().replace(/[^a-z0-9]+/g, '-');
  const file = join(folder, `${date.slice(0, 10)}-${slug}-tunnel.json`);
  const body = { date, machine, node: process.version, ...options, results };
  writeFileSync(file, `${JSON.stringify(body, null, 2)}\n`);
  return file;
}

async function bench(options: { rounds: number; seconds: number }): Promise<void> {
  const progress = (text: string): void => {
    process.stderr.write(`  ${text}\n`);
  };
  await checkTools();
  const cgroupRoot = cgroup2RootOf(readFileSync('/proc/self/mounts', 'utf8'));
  if (cgroupRoot === undefined) {
    throw new MeshError('unsupported', 'cgroup v2 is not mounted; mount it or use its hybrid mode');
  }
  const names = labNames('bench', cgroupRoot);
  const lab = await Lab.prepare({ names, config: join(root, 'bench/mesh'), progress });
  const interrupted = (): void => {
    void lab.stop().finally(() => process.exit(130));
  };
  process.once('SIGINT', interrupted);
  process.once('SIGTERM', interrupted);
  try {
    await lab.start();
    await pin(lab);
    const results = await benchTunnel(lab, workloads, { ...options, progress });
    process.stdout.write(tableOf(results));
    progress(`written to ${save(results, options)}`);
  } finally {
    await lab.stop();
  }
}

/** The verb `bench`: builds a lab of its own, measures, removes it. Exit code 3 without the tools. */
export async function main(argv: readonly string[]): Promise<number> {
  const program = new Command('weft bench')
    .description('measure the tunnel against the bare link, in turn, on a lab of its own')
    .option('--rounds <n>', 'rounds of every workload', positive, 5)
    .option('--seconds <n>', 'length of one measurement', positive, 3);
  program.parse(argv, { from: 'user' });
  try {
    await bench(program.opts<{ rounds: number; seconds: number }>());
    return 0;
  } catch (thrown) {
    const error = MeshError.from(thrown);
    process.stderr.write(`weft bench: ${error.message}\n`);
    return error.code === 'unsupported' ? 3 : 1;
  }
}
