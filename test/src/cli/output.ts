// SPDX-License-Identifier: Apache-2.0
import { Command } from 'commander';
import t from 'tap';
import { bytesText, durationText, runCommand, tableOf } from '../../../src/cli/output.ts';

t.test('a table is aligned, and control characters do not reach the terminal', (t) => {
  const text = tableOf(
    ['A', 'LONGER'],
    [
      ['wide cell', 'x'],
      ['y', '\u001b[2J'],
    ],
  );
  t.equal(text, 'A          LONGER\nwide cell  x\ny          ?[2J\n');
  t.end();
});

t.test('durations and sizes are for people', (t) => {
  const durations = [0, 1_499, 119_000, 120_000, 7_200_000, 200_000_000].map(durationText);
  t.same(durations, ['0s', '1s', '119s', '2m', '2h', '2d']);
  t.same([0, 1023, 1024, 1_572_864].map(bytesText), ['0 B', '1023 B', '1.0 KiB', '1.5 MiB']);
  t.end();
});

t.test('help is no failure, bad usage is 2, and what an action throws goes on', async (t) => {
  const quiet = { writeOut: () => undefined, writeErr: () => undefined };
  const command = (): Command => new Command('x').configureOutput(quiet).action(() => undefined);
  t.equal(await runCommand(command(), [], () => 7), 7);
  t.equal(await runCommand(command(), ['--help'], () => 7), 0);
  t.equal(await runCommand(command(), ['--nope'], () => 7), 2);
  const throws = new Command('x').action(() => {
    throw new Error('as told');
  });
  await t.rejects(
    runCommand(throws, [], () => 7),
    { message: 'as told' },
  );
});
