// SPDX-License-Identifier: Apache-2.0
import { getPriority } from 'node:os';
import t from 'tap';
import { outcomeOf, type Program, runToEnd } from '../../scripts/child.ts';

const shell = (text: string, more: Partial<Program> = {}): Program => ({
  ...{ file: 'sh', args: ['-c', text], timeoutMs: 20_000 },
  ...more,
});

t.test('a program that ends well leaves its output', async (t) => {
  const ended = await runToEnd(shell('echo "$WEFT_X"; echo err >&2', { env: { WEFT_X: 'x' } }));
  t.same(ended, { stdout: 'x\n', errors: 'err', failure: undefined });
});

t.test('every way to end badly has its name', async (t) => {
  t.equal((await runToEnd(shell('exit 3'))).failure, 'exit code 3');
  t.equal((await runToEnd(shell('kill -9 $$'))).failure, 'ended by SIGKILL');
  t.match((await runToEnd(shell('', { file: '/nonexistent' }))).failure, /ENOENT/);
  const late = await runToEnd(shell('echo early; exec sleep 60', { timeoutMs: 300 }));
  t.same(late, { stdout: 'early\n', errors: '', failure: 'not within 0.3 s' });
});

t.test('of its errors the last lines are kept', async (t) => {
  const { errors } = await runToEnd(shell('seq 100 >&2'));
  t.match(errors, /^41\n.*\n100$/s);
});

t.test('a program that gives way is nicer than the runner', async (t) => {
  // Its niceness is set once it runs, so it says it when asked.
  const program = `const { getPriority } = require('node:os');
    const look = () => (getPriority() > ${getPriority()} ? console.log(getPriority()) : setTimeout(look, 5));
    look();`;
  const { stdout } = await runToEnd({
    ...{ file: process.execPath, args: ['-e', program], timeoutMs: 20_000, niceness: 7 },
  });
  t.equal(stdout, '7\n');
});

const tap = `TAP version 14
# Subtest: adds
    ok 1 - one
    not ok 2 - two
      ---
      diff: "3"
      ...
    1..2
not ok 1 - adds
1..1
`;

t.test('what failed is counted and shown under the name of the program', async (t) => {
  const { tally, output } = outcomeOf(
    { stdout: tap, errors: 'err', failure: 'exit code 1' },
    'x.ts',
  );
  t.match(tally, { passed: 1, failed: 1, failures: ['x.ts > adds > two'] });
  t.match(
    output,
    /not ok 2 - two\n *---\n *diff: "3"\n *\.\.\.\nnot ok 1 - adds\nx\.ts: exit code 1\nerr$/,
  );
});

t.test('a program whose points all pass fails by its exit code', async (t) => {
  const stdout = 'TAP version 14\nok 1 - a\n1..1\n';
  const { tally, output } = outcomeOf({ stdout, errors: 'leak', failure: 'exit code 1' }, 'unit');
  t.match(tally, { passed: 1, failed: 1, failures: ['unit: exit code 1'] });
  t.match(output, /exit code 1\nleak$/);
  t.match(outcomeOf({ stdout, errors: 'noise', failure: undefined }, 'unit'), {
    ...{ tally: { passed: 1, failed: 0 }, output: '' },
  });
});

t.test('a program that says nothing has failed, however it ended', async (t) => {
  const { tally } = outcomeOf({ stdout: '', errors: '', failure: undefined }, 'x.ts');
  t.match(tally, { passed: 0, failed: 1 });
});
