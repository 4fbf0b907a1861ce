// SPDX-License-Identifier: Apache-2.0
// Builds of native/: the addon by cmake-js, test programs by CMake alone.
import { existsSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { launcherArgs } from './deps.ts';
import { root, run } from './steps.ts';
import { type Target, toolchainArgs } from './target.ts';

// What was compiled in one clone serves in every other.
const sharedCache = { CCACHE_BASEDIR: root, CCACHE_NOHASHDIR: '1' };

const cacheOf = (buildFolder: string): string => join(buildFolder, 'CMakeCache.txt');

/** True when the build folder was configured with the same third-party libraries. */
export function configuredWith(buildFolder: string, prefix: string): boolean {
  const cache = cacheOf(buildFolder);
  return (
    existsSync(cache) && readFileSync(cache, 'utf8').includes(`\nDEPS_PREFIX:PATH=${prefix}\n`)
  );
}

/** Of a build folder that was copied CMake's own files go, which name the place where it was. */
export function forgetOtherPlace(buildFolder: string): void {
  const cache = cacheOf(buildFolder);
  if (!existsSync(cache)) {
    return;
  }
  const own = `\nCMAKE_CACHEFILE_DIR:INTERNAL=${realpathSync(buildFolder)}\n`;
  if (!readFileSync(cache, 'utf8').includes(own)) {
    rmSync(cache);
    rmSync(join(buildFolder, 'CMakeFiles'), { recursive: true, force: true });
  }
}

async function cmakeJs(command: string, prefix: string, extra: readonly string[]): Promise<void> {
  await run(
    join(root, 'node_modules/.bin/cmake-js'),
    [
      ...[command, '--directory', root, '--out', join(root, 'build')],
      ...['--generator', 'Ninja', `--CDDEPS_PREFIX:PATH=${prefix}`],
      ...launcherArgs().map((arg) => arg.replace(/^-D/, '--CD')),
      ...extra,
    ],
    {
      env: {
        ...sharedCache,
        PATH: `${join(root, 'node_modules/.bin')}:${process.env['PATH'] ?? ''}`,
      },
    },
  );
}

/** Builds `target` of the addon's build folder; "weft" is build/Release/weft.node. */
export async function buildAddon(prefix: string, target = 'weft'): Promise<void> {
  forgetOtherPlace(join(root, 'build'));
  // "cmake-js build" configures an empty folder only, not one with another prefix.
  if (!configuredWith(join(root, 'build'), prefix)) {
    await cmakeJs('configure', prefix, []);
  }
  await cmakeJs('build', prefix, ['--target', target, '-p', String(availableParallelism())]);
}

/** One way to build the test programs. */
export interface Lane {
  /** Names the folder build/<name>. */
  readonly name: string;
  /** Value of -fsanitize, or empty. */
  readonly sanitize: string;
  /** Suffix-free compiler pair, such as clang-14 and clang++-14; the system's when absent. */
  readonly compilers?: readonly [string, string];
  /** The processor to build for; this machine's when absent. */
  readonly target?: Target;
  /** More of CMake's arguments, which go before those that every lane has. */
  readonly options?: readonly string[];
}

/** With AddressSanitizer and UndefinedBehaviorSanitizer. */
export const addressLane: Lane = { name: 'asan', sanitize: 'address,undefined' };

/** Configures (when needed) and builds `targets` of the lane; returns the lane's folder. */
export async function buildLane(
  lane: Lane,
  prefix: string,
  targets: readonly string[],
): Promise<string> {
  const folder = join(root, 'build', lane.name);
  forgetOtherPlace(folder);
  if (!configuredWith(folder, prefix)) {
    const [cc, cxx] = lane.compilers ?? [];
    await run('cmake', [
      ...['-S', join(root, 'native'), '-B', folder, '-G', 'Ninja'],
      ...[`-DDEPS_PREFIX:PATH=${prefix}`, `-DSANITIZE=${lane.sanitize}`],
      // Sanitized code at -O2 takes twice as long to build and finds no more.
      ...['-DCMAKE_BUILD_TYPE=Debug', '-DCMAKE_CXX_FLAGS_DEBUG=-O1 -g1'],
      ...(cc === undefined ? [] : [`-DCMAKE_C_COMPILER=${cc}`, `-DCMAKE_CXX_COMPILER=${cxx}`]),
      ...[...launcherArgs(), ...toolchainArgs(lane.target), ...(lane.options ?? [])],
    ]);
  }
  await run('ninja', ['-C', folder, ...targets], { env: sharedCache });
  return folder;
}
