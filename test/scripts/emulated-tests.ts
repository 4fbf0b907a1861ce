// SPDX-License-Identifier: Apache-2.0
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import {
  arm64Builds,
  emulatedFolders,
  notOnArm64,
  olderX86Jobs,
  unemulated,
} from '../../scripts/emulated-tests.ts';
import { root } from '../../scripts/steps.ts';

const folders = emulatedFolders.join(',');
const sources = globSync(`test/native/{${folders}}/*_test.cc`, { cwd: root });
const titles = sources.flatMap((file) => {
  const text = readFileSync(join(root, file), 'utf8');
  const all = [...text.matchAll(/^(TEST_CASE|EACH_ROW)\(\s*"([^"]+)"/gm)];
  return all.flatMap(([, kind, title = '']) =>
    kind === 'TEST_CASE' ? [title] : [`${title}<RecordRow>`, `${title}<LibraryRow>`],
  );
});

/** True when the pattern, in which "*" stands for anything, is of the whole title. */
function names(pattern: string, title: string): boolean {
  const parts = pattern.split('*').map((part) => part.replace(/[^\w ]/g, '\\$&'));
  return new RegExp(`^${parts.join('.*')}$`).test(title);
}

t.test('what emulated programs are not asked for is there, and has a reason', async (t) => {
  t.ok(titles.length > 100, `${titles.length} tests`);
  for (const { tests, why } of [...unemulated, ...notOnArm64]) {
    // The program takes a comma for the end of a pattern.
    t.notMatch(tests, /,/);
    const found = titles.filter((title) => names(tests, title));
    t.ok(found.length >= 1 && found.length <= 2, `${tests} names ${found.length}`);
    t.not(why, '');
  }
});

t.test('both processors are asked for, on x86-64', async (t) => {
  const prepare = (): Promise<void> => Promise.resolve();
  const builds = arm64Builds(prepare);
  const needing = builds.flatMap(({ then }) => then);
  const jobs = [...builds, ...needing, ...olderX86Jobs(prepare)].map(({ name }) => name);
  const wanted = [
    ...['build of arm64', 'unit (arm64)'],
    ...['unit of crypto (Opteron of 2003)', 'unit of crypto (Haswell)'],
  ];
  t.strictSame(jobs, process.arch === 'x64' ? wanted : []);
});
