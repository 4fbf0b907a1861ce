// SPDX-License-Identifier: Apache-2.0
// Programs for the kernel on a machine without their compiler: what was built elsewhere is taken
// there, in another folder, by another user.
import { type StdioOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import t, { type Test } from 'tap';
import { areBuilt, sourcesDigest } from '../../scripts/bpf.ts';
import { root } from '../../scripts/steps.ts';
import { mustRun, runProgram } from '../../src/lib/program.ts';

const objects = join(root, 'build/bpf');
const isReady = areBuilt() ? false : 'build/bpf is not of these sources: ./weft setup';
// Most of a copy's own set-up is in it.
t.setTimeout(400_000);

// Of some 20,000 files, beside builds.
const copyMs = 120_000;

/** A folder of programs, in which there is no compiler of programs for the kernel. */
function folderWithoutClang(parent: string): string {
  const folder = join(parent, 'bin');
  mkdirSync(folder);
  const system = (process.env['PATH'] ?? '')
    .split(delimiter)
    .filter((from) => !from.startsWith(root));
  for (const from of system.filter((each) => existsSync(each))) {
    for (const name of readdirSync(from)) {
      const isTaken = existsSync(join(folder, name));
      if (!isTaken && !/clang|llvm/.test(name) && name !== 'dpkg-query') {
        symlinkSync(join(from, name), join(folder, name));
      }
    }
  }
  // The package of the compiler is not installed either.
  const query = '#!/bin/sh\n/usr/bin/dpkg-query "$@" | grep -v "clang"\n';
  writeFileSync(join(folder, 'dpkg-query'), query, { mode: 0o755 });
  return folder;
}

interface Machine {
  /** The copy of this clone, with `build/bpf` and what CMake noted here. */
  readonly clone: string;
  readonly env: Record<string, string>;
}

/** Another machine, which has no compiler and whose user has nothing. */
async function otherMachine(t: Test): Promise<Machine> {
  const top = mkdtempSync(join(tmpdir(), 'weft-prebuilt-'));
  t.teardown(() => rmSync(top, { recursive: true, force: true }));
  const clone = join(top, 'elsewhere', 'weft');
  const home = join(top, 'home');
  mkdirSync(home);
  const listed = await mustRun('git', ['-C', root, 'ls-files', '-z', '-co', '--exclude-standard']);
  for (const file of listed.split('\0').filter((each) => existsSync(join(root, each)) && each)) {
    cpSync(join(root, file), join(clone, file));
  }
  cpSync(objects, join(clone, 'build/bpf'), { recursive: true });
  cpSync(join(root, 'build/CMakeCache.txt'), join(clone, 'build/CMakeCache.txt'));
  // By links, if both are in one file system.
  const from = [join(root, 'node_modules'), join(clone, 'node_modules')];
  const linked = await runProgram('cp', ['-al', ...from], { timeoutMs: copyMs });
  if (linked.code !== 0) {
    rmSync(join(clone, 'node_modules'), { recursive: true, force: true });
    await mustRun('cp', ['-a', ...from], { timeoutMs: copyMs });
  }
  return { clone, env: { PATH: folderWithoutClang(top), HOME: home } };
}

interface Ended {
  readonly code: number | null;
  readonly output: string;
}

/** Runs it to its end, or until it has said `enough`: then all that it started is ended, too. */
async function runIn(
  { clone, env }: Machine,
  file: string,
  args: readonly string[],
  enough?: RegExp,
): Promise<Ended> {
  const stdio: StdioOptions = ['ignore', 'pipe', 'pipe'];
  const child = spawn(file, args, { cwd: clone, env, stdio, detached: true });
  let output = '';
  let isEnded = false;
  const take = (data: Buffer): void => {
    output += data.toString();
    if (enough?.test(output) && !isEnded) {
      isEnded = true;
      process.kill(-Number(child.pid), 'SIGTERM');
    }
  };
  child.stdout?.on('data', take);
  child.stderr?.on('data', take);
  const [code] = await once(child, 'close');
  return { code, output };
}

/** The one step, without what comes before it. */
function buildIn(machine: Machine): Promise<Ended> {
  const program = `const { buildBpf } = await import('${machine.clone}/scripts/bpf.ts');
    await buildBpf('/there/is/no/prefix');`;
  return runIn(machine, process.execPath, ['--input-type=module', '-e', program]);
}

t.test('what objects are made of has one name in all folders', async (t) => {
  const tree = () => ({
    bpf: { 'x.bpf.c': 'int x;', include: { 'x.h': '' } },
    scripts: { 'bpf.ts': '' },
  });
  const folder = t.testdir({
    one: tree(),
    other: tree(),
    changed: { ...tree(), scripts: { 'bpf.ts': '-O3' } },
    renamed: { ...tree(), bpf: { 'y.bpf.c': 'int x;', include: { 'x.h': '' } } },
  });
  const names = ['one', 'other', 'changed', 'renamed'].map((each) => {
    return sourcesDigest(join(folder, each));
  });
  t.equal(names[0], names[1]);
  t.equal(new Set(names).size, 3);
});

t.test('a machine without a compiler', { skip: isReady }, async (t) => {
  const machine = await otherMachine(t);
  const folder = join(machine.clone, 'build/bpf');

  await t.test('takes objects of the same sources as they are', async (t) => {
    const { code, output } = await buildIn(machine);
    t.strictSame([code, output], [0, '']);
  });

  const refusal = /the kernel's programs need clang: those in build\/bpf were built from other/;
  await t.test('refuses those of other sources, and names the compiler', async (t) => {
    appendFileSync(join(machine.clone, 'bpf/connect.bpf.c'), '\n/* another */\n');
    const { code, output } = await buildIn(machine);
    t.not(code, 0);
    t.match(output, refusal);
    t.match(output, /apt-get install clang-14/);
    cpSync(join(root, 'bpf/connect.bpf.c'), join(machine.clone, 'bpf/connect.bpf.c'));
    t.equal((await buildIn(machine)).code, 0);
  });

  for (const [title, damage] of [
    ['one that is another', (file: string) => appendFileSync(file, 'x')],
    ['one that is missing', (file: string) => rmSync(file)],
  ] as const) {
    await t.test(`refuses all for ${title}`, async (t) => {
      damage(join(folder, 'lookup.bpf.o'));
      t.match((await buildIn(machine)).output, refusal);
      cpSync(join(objects, 'lookup.bpf.o'), join(folder, 'lookup.bpf.o'));
    });
  }

  await t.test('without any says that there are none', async (t) => {
    rmSync(folder, { recursive: true });
    t.match((await buildIn(machine)).output, /need clang: there are none in build\/bpf/);
  });
});

t.test('./weft setup says so, and goes on', { skip: isReady }, async (t) => {
  const machine = await otherMachine(t);
  // Of this machine are the libraries, what was compiled before, and where rustup keeps cargo: or it
  // would take minutes. So would the engine, which comes next: that it is begun is enough.
  const cache = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
  const ccache = process.env['CCACHE_DIR'] ?? join(cache, 'ccache');
  const rustup = process.env['RUSTUP_HOME'] ?? join(homedir(), '.rustup');
  const own = { XDG_CACHE_HOME: cache, CCACHE_DIR: ccache, RUSTUP_HOME: rustup };
  const env = { ...machine.env, ...own };
  const weft = (enough?: RegExp): Promise<Ended> =>
    runIn({ ...machine, env }, './weft', ['setup'], enough);
  const { output } = await weft(/^ {2}native engine/m);
  t.match(output, /^ {2}BPF programs +prebuilt ones are used: no clang is here$/m);
  t.match(output, /^ {2}native engine/m);

  appendFileSync(join(machine.clone, 'bpf/lookup.bpf.c'), '\n/* another */\n');
  const refused = await weft();
  t.not(refused.code, 0);
  t.match(refused.output, /^weft: the kernel's programs need clang: those in build\/bpf/m);
});
