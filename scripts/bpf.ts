// SPDX-License-Identifier: Apache-2.0
// The kernel's programs: bpf/X.bpf.c -> build/bpf/X.bpf.o, and bpf/probe/X.bpf.c -> probe_X.bpf.o,
// which the addon then holds.
import { createHash } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  globSync,
  mkdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, join, relative } from 'node:path';
import { linkObjects } from '../native/linker.ts';
import { MeshError } from '../src/lib/error.ts';
import { root, run } from './steps.ts';

const out = join(root, 'build/bpf');
const stampFile = join(out, 'sources.stamp');
/** Compilers that can, the one that is tested first. */
const compilers = ['clang-14', 'clang', 'clang-16', 'clang-19'];

function sourceFiles(): string[] {
  return globSync('bpf/{,probe/}*.bpf.c', { cwd: root }).sort();
}

/** Names what the objects are made of. */
export function bpfStamp(prefix: string): string {
  const hash = createHash('sha256').update(prefix);
  for (const file of globSync('{bpf/**/*.{c,h},scripts/bpf.ts}', { cwd: root }).sort()) {
    hash.update(`${file}\n`).update(readFileSync(join(root, file)));
  }
  return hash.digest('hex');
}

function findCompiler(): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(':');
  return compilers.find((name) =>
    folders.some((folder) => {
      try {
        accessSync(join(folder, name), constants.X_OK);
        return true;
      } catch {
        return false;
      }
    }),
  );
}

/** Where objects go, and what they are compiled with beside. */
interface Target {
  readonly folder: string;
  readonly defines: readonly string[];
}

async function compile(
  compiler: string,
  prefix: string,
  { folder, defines }: Target,
  source: string,
): Promise<string> {
  const name = relative('bpf', source).replaceAll('/', '_').replace(/\.c$/, '.o');
  const object = join(folder, 'unlinked', name);
  const machine = (await run('uname', ['-m'])).trim();
  await run(compiler, [
    ...['-target', 'bpf', '-mcpu=v3', '-g', '-O2', '-Wall', '-Wextra', '-Werror'],
    ...defines,
    ...['-I', join(root, 'bpf/include'), '-I', join(prefix, 'include')],
    ...['-I', join(prefix, 'include/uapi'), '-isystem', `/usr/include/${machine}-linux-gnu`],
    ...['-c', join(root, source), '-o', object],
  ]);
  return object;
}

/**
 * Compiles and links every program, unless that was done with the same sources. Objects that are
 * there already serve a machine without a compiler.
 */
export async function buildBpf(prefix: string): Promise<void> {
  const stamp = bpfStamp(prefix);
  if (existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp) {
    return;
  }
  await compileAll(prefix, { folder: out, defines: [] });
  writeFileSync(stampFile, stamp);
}

/** Compiles every program anew into a folder, which is emptied. */
export async function compileAll(prefix: string, target: Target): Promise<void> {
  const { folder } = target;
  const compiler = findCompiler();
  if (compiler === undefined) {
    throw new MeshError(
      'unsupported',
      "the kernel's programs need clang: apt-get install clang-14",
    );
  }
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(folder, 'unlinked'), { recursive: true });
  for (const source of sourceFiles()) {
    const object = await compile(compiler, prefix, target, source);
    linkObjects(join(folder, basename(object)), [object]);
  }
}
