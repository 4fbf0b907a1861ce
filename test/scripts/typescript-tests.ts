// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path';
import t from 'tap';
import {
  alone,
  fileJob,
  fileJobs,
  filesOf,
  fuzzers,
  long,
  testFiles,
  waiting,
} from '../../scripts/typescript-tests.ts';

t.test('the lists name files that are there, each in one list', async (t) => {
  const listed = [...waiting, ...fuzzers, ...alone, ...long];
  const files = testFiles();
  t.same(
    listed.filter((file) => !files.includes(file)),
    [],
  );
  t.equal(new Set(listed).size, listed.length);
});

t.test('every file is run once, what is listed in its place', async (t) => {
  const files = testFiles();
  const jobs = fileJobs(files);
  const names = Object.values(jobs).flatMap((list) =>
    list.map(({ name }: { name: string }) => name),
  );
  t.same(names.sort(), files);
  t.same(
    jobs.waiting.map(({ name }) => name),
    waiting,
  );
  t.equal(jobs.others[0]?.name, long[0]);
  t.notOk(files.some((file) => /^test\/(support|fixtures)\//.test(file)));
});

t.test('a path stands for a file, or for all files under a folder', async (t) => {
  t.same(filesOf(['test/scripts/tally.ts']), ['test/scripts/tally.ts']);
  const folder = filesOf(['./test/scripts/', 'test/scripts/tally.ts']);
  t.ok(folder.includes('test/scripts/build.ts'));
  t.equal(new Set(folder).size, folder.length, 'no file twice');
  for (const path of ['test/none', 'test/script', 'test/support/random.ts']) {
    t.throws(() => filesOf([path]), { code: 'invalid', message: `${path} names no test` });
  }
});

t.test('a file is run by this very Node, also what it starts by the name of node', async (t) => {
  const folder = t.testdir({
    'a.js': `import { execFileSync } from 'node:child_process';
import t from 'tap';
t.equal(process.execPath, ${JSON.stringify(process.execPath)});
t.equal(execFileSync('node', ['-p', 'process.version'], { encoding: 'utf8' }).trim(), process.version);
`,
  });
  t.match((await fileJob(join(folder, 'a.js')).run()).tally, { passed: 2, failed: 0 });
});

const bad: Readonly<Record<string, readonly [text: string, failure: RegExp]>> = {
  'an assertion that does not hold': ["t.equal(1, 2, 'same');", /a\.js > same$/],
  'a file that throws before any test': [
    "throw new Error('early');",
    /a\.js: its report is incomplete$/,
  ],
  'a file that is not JavaScript': ['let let;', /a\.js: its report is incomplete$/],
  'a process that ends in the middle of a test': [
    "t.test('half', async (t) => { t.pass('a'); process.exit(0); });",
    /a\.js > half/,
  ],
  'a test that never ends': [
    "t.test('hangs', { timeout: 100 }, () => new Promise(() => {}));",
    /a\.js > hangs/,
  ],
  'a file that computes for ever': ["t.pass('a'); for (;;);", /a\.js: its report is incomplete$/],
};
for (const [what, [text, failure]] of Object.entries(bad)) {
  t.test(`${what} is seen as a failure`, async (t) => {
    const folder = t.testdir({ 'a.js': `import t from 'tap';\n${text}\n` });
    const { tally } = await fileJob(join(folder, 'a.js'), 0, 4_000).run();
    t.ok(tally.failed > 0);
    t.match(tally.failures[0], failure);
  });
}
