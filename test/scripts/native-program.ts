// SPDX-License-Identifier: Apache-2.0
// What scripts of package.json and benches build by name is a target of native/.
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { mustRun, runProgram } from '../../src/lib/program.ts';

const root = join(import.meta.dirname, '../..');

function programsOfScripts(): string[] {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  return Object.values(scripts as Record<string, string>).flatMap((script) => {
    const [, program] = /scripts\/native-program\.ts (\S+)/.exec(script) ?? [];
    return program === undefined ? [] : [program];
  });
}

function programsOfBenches(): string[] {
  return globSync('src/bench/**/*.ts', { cwd: root }).flatMap((file) =>
    [...readFileSync(join(root, file), 'utf8').matchAll(/runNativeBench\('(\w+)'/g)].map(
      ([, program = '']) => program,
    ),
  );
}

t.test('each program that is asked for by name can be built', async (t) => {
  const programs = [...programsOfScripts(), ...programsOfBenches()];
  t.ok(programs.includes('crypto_differential'));
  t.ok(programs.includes('bench_crypto'));
  const known = await mustRun('cmake', ['--build', join(root, 'build'), '--target', 'help']);
  const targets = new Set([...known.matchAll(/^(\S+): /gm)].map(([, target]) => target));
  for (const program of programs) {
    t.ok(targets.has(program), program);
  }
});

t.test('without a program it says so', async (t) => {
  const { code, stderr } = await runProgram(process.execPath, [
    join(root, 'scripts/native-program.ts'),
  ]);
  t.not(code, 0);
  t.match(stderr, /which program\?/);
});
