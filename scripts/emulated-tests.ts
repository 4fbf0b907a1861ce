// SPDX-License-Identifier: Apache-2.0
// The unit tests on processors that this machine has not: on arm64, which all of native/ is compiled
// for, and on x86-64 from before AVX-512. By qemu's emulation of programs, on x86-64 alone.
import { join } from 'node:path';
import { buildLane, type Lane } from './build.ts';
import { dependencyPrefix } from './deps.ts';
import { buildJob, type LeftOut, tapJob } from './native-jobs.ts';
import type { Build, Job } from './schedule.ts';
import { root } from './steps.ts';
import { arm64 } from './target.ts';

/** Where the tests are that need nothing of the kernel but what the emulator has. */
export const emulatedFolders: readonly string[] = ['base', 'crypto', 'http', 'tls'];

/** What no emulated program is asked for. */
export const unemulated: readonly LeftOut[] = [
  {
    tests: "a child has no share of its parent's",
    why: 'the emulator says yes to MADV_WIPEONFORK and does nothing',
  },
  {
    tests: 'a body that goes too deep faults*',
    why: 'the emulator says yes to MADV_GUARD_INSTALL and does nothing',
  },
  { tests: 'X25519: a thousand iterations*', why: 'a minute when emulated' },
];

/** What programs for arm64 are not asked for, besides. */
export const notOnArm64: readonly LeftOut[] = [
  { tests: 'owners see the same*', why: 'ten seconds, and frames are the same everywhere' },
  { tests: 'a storm of handshakes*', why: 'minutes when emulated' },
  { tests: 'the record row does what the library row does*', why: 'ten seconds when emulated' },
  { tests: 'a * takes no forged signature*<LibraryRow>', why: 'ten seconds, the other row has it' },
  { tests: 'keys of all kinds are taken*', why: 'makes RSA keys: ten seconds' },
  { tests: 'a leaf of RSA that another authority*', why: 'makes RSA keys: ten seconds' },
];

const modules = (path: string): string => join(root, 'node_modules', path);

const arm64Lane: Lane = {
  name: 'arm64',
  sanitize: '',
  target: arm64,
  options: [
    '-DCMAKE_CXX_FLAGS_DEBUG=-Og',
    `-DUNIT_FOLDERS=${emulatedFolders.join(';')}`,
    `-DCMAKE_JS_INC=${modules('node-api-headers/include')};${modules('node-addon-api')}`,
  ],
};

/** Compiles the addon and the tests for arm64, and runs these. */
export function arm64Builds(prepare: () => Promise<unknown>): Build[] {
  if (process.arch !== 'x64') {
    return [];
  }
  const build = async (): Promise<unknown> =>
    buildLane(arm64Lane, await dependencyPrefix(arm64), ['weft', 'unit']);
  const unit = tapJob({
    name: 'unit (arm64)',
    path: 'arm64/unit',
    emulator: arm64.emulator,
    leftOut: [...unemulated, ...notOnArm64],
    prepare,
  });
  return [buildJob('arm64', build, [unit])];
}

/**
 * Runs the tests of public-key operations, as they are shipped, on the oldest x86-64 that the build
 * is for, which is any, and what chooses the row on one that has AVX2.
 */
export function olderX86Jobs(prepare: () => Promise<unknown>): Job[] {
  if (process.arch !== 'x64') {
    return [];
  }
  const path = 'native/crypto_unit';
  const oldest = tapJob({
    name: 'unit of crypto (Opteron of 2003)',
    path,
    emulator: ['qemu-x86_64', '-cpu', 'Opteron_G1'],
    leftOut: unemulated,
    prepare,
  });
  const choosing = ['mode', 'calibrate', 'batch', 'fiber', 'fiber_switch', 'mb8'];
  const withAvx2 = tapJob({
    name: 'unit of crypto (Haswell)',
    path,
    args: [`--source-file=${choosing.map((name) => `*/${name}_test.cc`).join(',')}`],
    emulator: ['qemu-x86_64', '-cpu', 'Haswell'],
    leftOut: unemulated,
  });
  return [oldest, withAvx2];
}
