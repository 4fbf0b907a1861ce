// SPDX-License-Identifier: Apache-2.0
// A lab for measuring: the mesh, the bare pods and the pods with sidecars, pinned.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Lab } from '../lab/lab.ts';
import { labNames } from '../lab/topology.ts';
import { MeshError } from '../lib/error.ts';
import { cgroup2RootOf } from '../lib/machine.ts';
import { mustRun } from '../lib/program.ts';
import { envoyProgram } from './envoy-install.ts';
import { cgroupOf, startEnvoyPair } from './envoy-pair.ts';
import { cgroupIn, pin, type Variant } from './rounds.ts';
import { bare, rival } from './summary.ts';

/** The variant that is the mesh itself. */
export const ours = 'weft';
/** The names of all variants. */
export const variantNames: readonly string[] = [bare, ours, rival];

/** What a lab is for. */
export interface BenchLabOptions {
  /** The lab's name: 1 to 10 small letters and digits. */
  readonly name: string;
  readonly variants: readonly string[];
  /** Settings of the engine, as `weft ztunnel --engine` takes them. */
  readonly engine: readonly string[];
  readonly progress: (text: string) => void;
}

const config: string = join(import.meta.dirname, '../../bench/mesh');

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

function proxiesOf(lab: Lab, variant: string): Variant['proxies'] {
  if (variant === ours) {
    const at = (node: string): string => cgroupIn(lab, `${node}/ztunnel`);
    return { 'node-a': at('node-a'), 'node-b': at('node-b') };
  }
  const at = (end: string): string => cgroupOf(lab, `${rival}-${end}`);
  return variant === rival ? { 'node-a': at('client'), 'node-b': at('server') } : {};
}

/** Builds a lab, lets `work` measure on it, and removes it; also when the program is interrupted. */
export async function withBenchLab<T>(
  options: BenchLabOptions,
  work: (lab: Lab, variants: readonly Variant[]) => Promise<T>,
): Promise<T> {
  const { engine, progress } = options;
  const cgroupRoot = cgroup2RootOf(readFileSync('/proc/self/mounts', 'utf8'));
  if (cgroupRoot === undefined) {
    throw new MeshError('unsupported', 'cgroup v2 is not mounted; mount it or use its hybrid mode');
  }
  const names = labNames(options.name, cgroupRoot);
  const proxyFlags = engine.flatMap((setting) => ['--engine', setting]);
  const lab = await Lab.prepare({ names, config, progress, proxyFlags });
  const interrupted = (): void => {
    void lab.stop().finally(() => process.exit(130));
  };
  process.once('SIGINT', interrupted);
  process.once('SIGTERM', interrupted);
  try {
    await lab.start();
    if (options.variants.includes(rival)) {
      const program = await envoyProgram(progress);
      const ends = { client: `${rival}-client`, server: `${rival}-server` };
      await startEnvoyPair(lab, { program, ...ends, resume: false });
    }
    await prepareForShortConnections(lab);
    const variants = options.variants.map((name) => ({ name, proxies: proxiesOf(lab, name) }));
    await pin(lab, variants);
    return await work(lab, variants);
  } finally {
    process.off('SIGINT', interrupted);
    process.off('SIGTERM', interrupted);
    await lab.stop();
  }
}
