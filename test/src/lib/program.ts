// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { mustRun, runProgram } from '../../../src/lib/program.ts';

const script = (text: string): string[] => ['-e', text];

t.test('a program gets its input and answers its output and exit code', async (t) => {
  const result = await runProgram('sh', ['-c', 'cat; echo oops >&2; exit 3'], { input: 'in' });
  t.same(result, { code: 3, signal: '', stdout: 'in', stderr: 'oops\n' });
});

t.test('arguments reach the program as they are', async (t) => {
  const odd = '$(id) "; rm *\n';
  const printed = await mustRun(process.execPath, [
    ...script('process.stdout.write(process.argv[1])'),
    odd,
  ]);
  t.equal(printed, odd);
});

t.test('a program that is not there is unsupported', async (t) => {
  await t.rejects(runProgram('/no/such/program', []), { code: 'unsupported' });
});

t.test('a failing program says how it failed', async (t) => {
  await t.rejects(mustRun('sh', ['-c', 'echo broken >&2; exit 1']), {
    code: 'internal',
    message: /exit code 1: broken/,
  });
  await t.rejects(mustRun('sh', ['-c', 'kill -9 $$']), { message: /SIGKILL/ });
});

t.test('a program that takes too long is killed', async (t) => {
  await t.rejects(runProgram('sleep', ['100'], { timeoutMs: 20 }), { code: 'timeout' });
});

t.test('output is taken up to its limit and not one byte more', async (t) => {
  const write = script('process.stdout.write("x".repeat(Number(process.argv[1])))');
  const run = (bytes: number): Promise<unknown> =>
    runProgram(process.execPath, [...write, String(bytes)], { outputBytesMax: 1000 });
  await t.resolveMatch(run(1000), { code: 0 });
  await t.rejects(run(1001), { code: 'limit' });
});

t.test('a program that does not read its input is judged by its exit code', async (t) => {
  const input = 'x'.repeat(1 << 20);
  await t.resolveMatch(runProgram('true', [], { input }), { code: 0 });
});
