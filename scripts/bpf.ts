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
import { endianness } from 'node:os';
import { basename, join, relative } from 'node:path';
import { linkObjects } from '../native/linker.ts';
import { MeshError } from '../src/lib/error.ts';
import { buildAddon } from './build.ts';
import { root, run } from './steps.ts';

const out = join(root, 'build/bpf');
/** In the folder of objects: what they were made of, and what was made. */
const manifestName = 'manifest.json';
/** Compilers that can, the one that is tested first. */
const compilers = ['clang-14', 'clang', 'clang-16', 'clang-19'];

function sourceFiles(): string[] {
  return globSync('bpf/{,probe/}*.bpf.c', { cwd: root }).sort();
}

/** Digests, of sources taken together and of each object by its name. */
interface Manifest {
  readonly sources: string;
  readonly objects: Readonly<Record<string, string>>;
}

const digestOf = (file: string): string =>
  createHash('sha256').update(readFileSync(file)).digest('hex');

/** Names what objects are made of, alike on all machines and in all folders. */
export function sourcesDigest(base: string = root): string {
  const hash = createHash('sha256').update(endianness());
  // The lock file names the headers of libbpf.
  const files = globSync('{bpf/**/*.{c,h},scripts/bpf.ts,native/deps/sources.lock}', { cwd: base });
  for (const file of files.sort()) {
    hash.update(`${file}\n`).update(readFileSync(join(base, file)));
  }
  return hash.digest('hex');
}

function manifestOf(folder: string, sources: string): Manifest {
  const names = globSync('*.bpf.o', { cwd: folder }).sort();
  const objects = names.map((name) => [name, digestOf(join(folder, name))] as const);
  return { sources, objects: Object.fromEntries(objects) };
}

/** Whether the objects of these sources are there, all of them as they were made: by whomever. */
export function areBuilt(): boolean {
  const file = join(out, manifestName);
  return (
    existsSync(file) &&
    readFileSync(file, 'utf8') === JSON.stringify(manifestOf(out, sourcesDigest()))
  );
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

/** Whether this machine has a compiler for them. */
export function hasCompiler(): boolean {
  return findCompiler() !== undefined;
}

function noCompiler(): MeshError {
  const why = existsSync(join(out, manifestName))
    ? 'those in build/bpf were built from other sources, or are not whole, and no compiler is here to build them'
    : 'there are none in build/bpf, and no compiler is here to build them';
  return new MeshError(
    'unsupported',
    `the kernel's programs need clang: ${why}. Run  apt-get install clang-14,  or copy build/bpf from where these sources were built`,
  );
}

/**
 * Compiles and links every program, unless that was done with the same sources: here, or where the
 * folder was copied from. So what was built elsewhere serves a machine without a compiler. Throws
 * MeshError `unsupported` when it does not, and there is none.
 */
export async function buildBpf(prefix: string): Promise<void> {
  if (areBuilt()) {
    return;
  }
  if (!hasCompiler()) {
    throw noCompiler();
  }
  const sources = sourcesDigest();
  await compileAll(prefix, { folder: out, defines: [] });
  writeFileSync(join(out, manifestName), JSON.stringify(manifestOf(out, sources)));
}

/** Compiles every program anew into a folder, which is emptied; builds the linker before. */
export async function compileAll(prefix: string, target: Target): Promise<void> {
  const { folder } = target;
  const compiler = findCompiler();
  if (compiler === undefined) {
    throw noCompiler();
  }
  await buildAddon(prefix, 'bpf_linker');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(folder, 'unlinked'), { recursive: true });
  for (const source of sourceFiles()) {
    const object = await compile(compiler, prefix, target, source);
    linkObjects(join(folder, basename(object)), [object]);
  }
}
