// SPDX-License-Identifier: Apache-2.0
// Everything that is checked without running the project: lint, types, layers, C++ layout and bugs.
// With --fix, the formatters rewrite what they can instead of only complaining. With --tidy,
// clang-tidy reads the C++ too, which takes minutes.
import { globSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { MeshError } from '../src/lib/error.ts';
import { violations } from './layers.ts';
import { root, run, step } from './steps.ts';

const cores = availableParallelism();
const fix = process.argv.includes('--fix');
const bin = (name: string): string => join(root, 'node_modules/.bin', name);
// The programs of npm packages ask for "node": it must not be an older one of the system.
const env = { PATH: `${join(root, 'node_modules/.bin')}:${process.env['PATH'] ?? ''}` };

async function checkLayers(): Promise<void> {
  const found = violations(root);
  if (found.length > 0) {
    throw new MeshError('invalid', found.join('\n'));
  }
}

const cppcheckFlags = [
  ...['--enable=warning,performance,portability', '--inline-suppr', '--error-exitcode=1'],
  ...['--quiet', '--std=c++20', '--language=c++', '-I', 'native', '-j', String(cores)],
  // It does not see that a constructor moves its parameters to where they stay.
  '--suppress=passedByValue',
  // It takes the argument of std::move() itself for a use that comes after; clang-tidy does not.
  '--suppress=accessMoved',
];

function tidy(): Promise<string> {
  const files = globSync('native/{base,io,crypto,tls,http,proxy,kernel}/*.cc', { cwd: root });
  return run('xargs', ['-n', '1', '-P', String(cores), 'clang-tidy-14', '--quiet', '-p', 'build'], {
    input: files.join('\n'),
  });
}

const checks: Readonly<Record<string, () => Promise<unknown>>> = {
  lint: () =>
    run(bin('biome'), ['check', '--error-on-warnings', ...(fix ? ['--write'] : []), root], { env }),
  types: () => run(bin('tsc'), ['--noEmit', '--project', root], { env }),
  layers: checkLayers,
  'C++ layout': () => {
    const files = globSync('{native,test/native,test/fuzz}/**/*.{cc,h}', { cwd: root });
    return run('clang-format-14', [...(fix ? ['-i'] : ['--dry-run', '-Werror']), ...files]);
  },
  'C++ bugs': () => {
    const files = globSync('native/*/*.cc', { cwd: root });
    return run('cppcheck', [...cppcheckFlags, ...files]);
  },
  ...(process.argv.includes('--tidy') ? { 'C++ bugs, clang-tidy': tidy } : {}),
};

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  try {
    await step(name, check);
  } catch (error) {
    failed += 1;
    process.stdout.write(`${MeshError.from(error).message}\n`);
  }
}
process.exitCode = failed === 0 ? 0 : 1;
