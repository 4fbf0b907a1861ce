// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { Lab } from '../lab/lab.ts';
import { labNames } from '../lab/topology.ts';
import { MeshError } from '../lib/error.ts';
import { cgroup2RootOf } from '../lib/machine.ts';
import { mustRun, runProgram } from '../lib/program.ts';
import { envoyProgram } from './envoy-install.ts';
import { cgroupOf, startEnvoyPair } from './envoy-pair.ts';
import { verdictsOn } from './goals.ts';
import { saveResults } from './results.ts';
import { pin, runRounds, type Sample, type Variant } from './rounds.ts';
import { bare, rival, summaryOf } from './summary.ts';
import { goalsTable, tableOf } from './table.ts';
import { workloads } from './workloads.ts';

const root = join(import.meta.dirname, '../..');
const tools = ['sockperf', 'wrk', 'iperf3', 'taskset'];
const ours = 'weft';
const variantNames: readonly string[] = [bare, ours, rival];

/** The flags. */
interface BenchOptions {
  readonly rounds: number;
  readonly seconds: number;
  readonly only: readonly string[];
  readonly variants: readonly string[];
}

type Progress = (text: string) => void;

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 100) {
    throw new InvalidArgumentError('a whole number from 1 to 100 is expected');
  }
  return value;
}

/** A parser of a comma-separated list whose items are all among `known`. */
function listOf(known: readonly string[]): (text: string) => string[] {
  return (text) => {
    const names = text.split(',');
    const strange = names.find((name) => !known.includes(name));
    if (strange !== undefined) {
      throw new InvalidArgumentError(`"${strange}" is none of ${known.join(', ')}`);
    }
    return known.filter((name) => names.includes(name));
  };
}

async function checkTools(): Promise<void> {
  const found = await Promise.all(tools.map((tool) => runProgram('which', [tool])));
  const missing = tools.filter((_, index) => found[index]?.code !== 0);
  if (missing.length > 0) {
    const line = `apt-get install -y --no-install-recommends ${missing.join(' ')}`;
    throw new MeshError('unsupported', `load tools are missing: run  ${line}`);
  }
}

// Thousands of short connections a second: ports and tracked connections must be free again soon.
async function prepareForShortConnections(lab: Lab): Promise<void> {
  const settings = [
    'net.ipv4.tcp_tw_reuse=1',
    'net.ipv4.ip_local_port_range=16384 65000',
    'net.netfilter.nf_conntrack_tcp_timeout_time_wait=1',
  ];
  for (const { netns } of lab.plan.pods) {
    await mustRun('nsenter', [`--net=/run/netns/${netns}`, 'sysctl', '-qw', ...settings]);
  }
}

function variantsOf(lab: Lab, names: readonly string[]): Variant[] {
  const proxies: Readonly<Record<string, Variant['proxies']>> = {
    [ours]: {
      'node-a': join(lab.plan.names.cgroup, 'node-a/ztunnel'),
      'node-b': join(lab.plan.names.cgroup, 'node-b/ztunnel'),
    },
    [rival]: {
      'node-a': cgroupOf(lab, `${rival}-client`),
      'node-b': cgroupOf(lab, `${rival}-server`),
    },
  };
  return names.map((name) => ({ name, proxies: proxies[name] ?? {} }));
}

async function measureOn(lab: Lab, options: BenchOptions, progress: Progress): Promise<Sample[]> {
  await lab.start();
  if (options.variants.includes(rival)) {
    const program = await envoyProgram(progress);
    const ends = { client: `${rival}-client`, server: `${rival}-server` };
    await startEnvoyPair(lab, { program, ...ends, resume: false });
  }
  await prepareForShortConnections(lab);
  const variants = variantsOf(lab, options.variants);
  await pin(lab, variants);
  const chosen = workloads.filter(({ name }) => options.only.includes(name));
  return await runRounds(lab, chosen, variants, { ...options, progress });
}

async function bench(options: BenchOptions): Promise<void> {
  const progress: Progress = (text) => {
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
    const samples = await measureOn(lab, options, progress);
    const rows = workloads.flatMap((each) => summaryOf(each, samples, options.variants));
    const verdicts = verdictsOn(rows, ours);
    process.stdout.write(`${tableOf(rows)}\n${goalsTable(verdicts)}`);
    const file = saveResults({ ...options, rows, verdicts, samples });
    progress(`written to ${file}`);
  } finally {
    await lab.stop();
  }
}

/** The verb `bench`: builds a lab of its own, measures, removes it. Exit code 3 without the tools. */
export async function main(argv: readonly string[]): Promise<number> {
  const workloadNames = workloads.map(({ name }) => name);
  const program = new Command('weft bench')
    .description('measure the mesh against the bare link and Envoy, in turn, on a lab of its own')
    .option('--rounds <n>', 'rounds of every workload', positive, 5)
    .option('--seconds <n>', 'length of one measurement', positive, 3)
    .option('--only <names>', workloadNames.join(','), listOf(workloadNames), workloadNames)
    .option('--variants <names>', variantNames.join(','), listOf(variantNames), variantNames);
  program.parse(argv, { from: 'user' });
  try {
    await bench(program.opts<BenchOptions>());
    return 0;
  } catch (thrown) {
    const error = MeshError.from(thrown);
    process.stderr.write(`weft bench: ${error.message}\n`);
    return error.code === 'unsupported' ? 3 : 1;
  }
}
