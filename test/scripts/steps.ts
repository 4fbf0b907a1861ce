// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { root, run, step } from '../../scripts/steps.ts';

t.test('a command that works returns what it printed on both streams', async (t) => {
  t.equal(await run('sh', ['-c', 'echo out; echo err >&2']), 'out\nerr\n');
});

t.test('a command gets its input, folder and environment', async (t) => {
  const said = await run('sh', ['-c', 'cat; pwd; echo "$WEFT_X"'], {
    input: 'in\n',
    cwd: '/',
    env: { WEFT_X: 'x' },
  });
  t.equal(said, 'in\n/\nx\n');
  t.equal(await run('pwd', []), `${root}\n`);
});

t.test('a command that fails says how, and the end of its output', async (t) => {
  await t.rejects(run('sh', ['-c', 'echo why; exit 3']), {
    code: 'internal',
    message: /exit code 3\nwhy\n$/,
  });
  await t.rejects(run('sh', ['-c', 'kill -9 $$']), { message: /SIGKILL/ });
  await t.rejects(run('/nonexistent/program', []), { code: 'unavailable' });
});

t.test('a step hands on the value and the failure of its work', async (t) => {
  let printed = '';
  const print = (text: string): void => {
    printed += text;
  };
  t.equal(await step('works', async () => 7, print), 7);
  const broken = step('breaks', () => Promise.reject(new Error('broken')), print);
  await t.rejects(broken, { message: 'broken' });
  t.match(printed, /^ {2}works +\d+\.\d s\n {2}breaks +failed\n$/);
});
