// SPDX-License-Identifier: Apache-2.0
// The third-party static libraries, built once per lock file, recipe and compiler.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fetchSources } from './sources.ts';
import { root, run, step } from './steps.ts';
import { type Target, toolchainArgs } from './target.ts';

const recipe = join(root, 'native/deps/CMakeLists.txt');
const lock = join(root, 'native/deps/sources.lock');

/** Names one build of the libraries: other inputs, other key. */
export function prefixKey(inputs: readonly (string | Buffer)[]): string {
  const hash = createHash('sha256');
  for (const input of inputs) {
    hash.update(createHash('sha256').update(input).digest());
  }
  return hash.digest('hex').slice(0, 16);
}

/** CMake arguments that put ccache before the compilers, where there is one. */
export function launcherArgs(): string[] {
  return existsSync('/usr/bin/ccache')
    ? ['-DCMAKE_C_COMPILER_LAUNCHER=ccache', '-DCMAKE_CXX_COMPILER_LAUNCHER=ccache']
    : [];
}

async function buildInto(prefix: string, work: string, target: Target | undefined): Promise<void> {
  const vendor = await step('third-party sources', () =>
    fetchSources(readFileSync(lock, 'utf8'), work),
  );
  const name = `third-party libraries${target === undefined ? '' : `, ${target.arch}`}`;
  await step(name, async () => {
    const build = join(work, 'build');
    const staged = join(work, 'prefix');
    await run('cmake', [
      ...['-S', join(root, 'native/deps'), '-B', build, '-G', 'Ninja'],
      ...['-DCMAKE_BUILD_TYPE=Release', `-DVENDOR=${vendor}`, `-DCMAKE_INSTALL_PREFIX=${staged}`],
      ...launcherArgs(),
      ...toolchainArgs(target),
    ]);
    await run('ninja', ['-C', build, 'crypto', 'ssl', 'nghttp2', 'z', 'elf', 'bpf'], {
      // The folder's name changes from run to run; ccache must not see it.
      env: { CCACHE_BASEDIR: work, CCACHE_NOHASHDIR: '1' },
    });
    await run('cmake', ['--install', build]);
    renameSync(staged, prefix);
  });
}

/**
 * The folder that holds lib/ and include/ of the third-party libraries for `target`, else for this
 * machine, in the user's cache; it is built first where it is missing. Complete or absent: it
 * appears by one rename.
 */
export async function dependencyPrefix(target?: Target): Promise<string> {
  const compiler = await run(target?.compiler ?? 'c++', ['--version']);
  const key = prefixKey([
    ...[readFileSync(recipe), readFileSync(lock), compiler, target?.arch ?? process.arch],
    ...(target === undefined ? [] : [readFileSync(target.toolchain)]),
  ]);
  const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'weft');
  const prefix = join(cache, key);
  if (!existsSync(prefix)) {
    mkdirSync(cache, { recursive: true });
    const work = mkdtempSync(join(cache, 'tmp-'));
    try {
      await buildInto(prefix, work, target);
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  }
  return prefix;
}
