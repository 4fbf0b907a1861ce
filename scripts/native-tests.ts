// SPDX-License-Identifier: Apache-2.0
// The parts of a test run that are C++: unit tests under the sanitizers, and fuzzers.
import { globSync, mkdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { addressLane, type Lane as BuildLane, buildAddon, buildLane } from './build.ts';
import { yielding as niceness, runToEnd } from './child.ts';
import { arm64Builds, olderX86Jobs } from './emulated-tests.ts';
import { buildJob, laneJob, tapJob } from './native-jobs.ts';
import { buildNextLayout } from './next-layout.ts';
import type { Build, Job } from './schedule.ts';
import { root } from './steps.ts';
import { tallyOne } from './tally.ts';
import { vectorFile } from './vectors.ts';

/**
 * Sources of tests in which there is one thread, below test/native: ThreadSanitizer has nothing to
 * find in them, and they took it four times as long as all others together.
 */
export const oneThread: readonly string[] = [
  'crypto/mb8_*test.cc',
  'http/*_test.cc',
  'proxy/balance_test.cc',
  'proxy/direct_policy_test.cc',
  'proxy/direct_services_test.cc',
  'proxy/policy_*test.cc',
  'proxy/tables_*test.cc',
  'tls/handshake_storm_test.cc',
  'tls/session_differential_test.cc',
];

interface UnitLane extends BuildLane {
  /** Sources whose tests are left out. */
  readonly without: readonly string[];
}

const unitLanes: readonly UnitLane[] = [
  { name: 'tsan', sanitize: 'thread', without: oneThread },
  { ...addressLane, without: [] },
];
const constantTimeLane: BuildLane = {
  name: 'msan',
  sanitize: 'memory',
  compilers: ['clang-14', 'clang++-14'],
};
const fuzzLane: BuildLane = {
  name: 'fuzz',
  sanitize: '',
  compilers: ['clang-14', 'clang++-14'],
};

const fuzzSeconds = Number(
  process.env['WEFT_FUZZ_SECONDS'] ?? (process.env['CI'] === 'true' ? 15 : 5),
);

function fuzzJob(target: string): Job {
  const name = `fuzz ${target}`;
  const folder = join(root, 'build', fuzzLane.name);
  const found = join(folder, 'found', target);
  const seeds = globSync(`test/fuzz/corpus/${target}`, { cwd: root });
  const program = {
    file: join(folder, `fuzz_${target}`),
    args: [
      ...[`-max_total_time=${fuzzSeconds}`, '-timeout=10', '-rss_limit_mb=2048'],
      ...['-print_final_stats=1', `-artifact_prefix=${folder}/${target}-`, found, ...seeds],
    ],
    timeoutMs: (fuzzSeconds + 60) * 1000,
    niceness,
  };
  return {
    name,
    run: async () => {
      mkdirSync(found, { recursive: true });
      const { failure, errors } = await runToEnd(program);
      return { tally: tallyOne(name, failure), output: failure === undefined ? '' : errors };
    },
  };
}

/**
 * The C++ unit tests, once under each sanitizer; those of public-key operations also as they are
 * shipped, and on processors of which this machine is none; and the kernels that must take constant
 * time.
 */
export function unitBuilds(prefix: string): Build[] {
  let vectors: Promise<string> | undefined;
  const prepare = (): Promise<string> => {
    vectors ??= vectorFile();
    return vectors;
  };
  const units = unitLanes.map((lane) => {
    // The program hears the last such flag alone.
    const without = lane.without.map((source) => `*/${source}`).join(',');
    const unit = tapJob({
      name: `unit (${lane.name})`,
      path: `${lane.name}/unit`,
      args: without === '' ? [] : [`--source-file-exclude=${without}`],
      prepare,
    });
    return laneJob(lane, prefix, ['unit'], [unit]);
  });
  const shipped = buildJob('crypto_unit', () => buildAddon(prefix, 'crypto_unit'), [
    tapJob({ name: 'unit of crypto (as shipped)', path: 'native/crypto_unit', prepare }),
    ...olderX86Jobs(prepare),
  ]);
  // The kernels are of x86-64 alone.
  const secret = process.arch === 'x64' ? ['constant_time'] : [];
  const lane = constantTimeLane;
  return [
    ...units,
    shipped,
    ...secret.map((target) => {
      const run = tapJob({ name: 'constant time (msan)', path: `${lane.name}/${target}` });
      return laneJob(lane, prefix, [target], [run]);
    }),
    ...arm64Builds(prepare),
  ];
}

/** What TypeScript tests would else compile by themselves, beside others that wait. */
export function programBuilds(prefix: string): Build[] {
  const build = async (): Promise<void> => {
    await buildLane(addressLane, prefix, ['h2_server']);
    await buildAddon(prefix, 'weft_wrong');
    await buildNextLayout(prefix);
  };
  return [buildJob('programs of tests', build, [])];
}

/** Every fuzzer, each for `WEFT_FUZZ_SECONDS` (5 s, in CI 15 s). */
export function fuzzBuilds(prefix: string): Build[] {
  const targets = globSync('test/fuzz/*.cc', { cwd: root })
    .map((file) => basename(file, '.cc'))
    .sort();
  const programs = targets.map((target) => `fuzz_${target}`);
  return [laneJob(fuzzLane, prefix, programs, targets.map(fuzzJob))];
}
