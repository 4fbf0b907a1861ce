// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { weft, weftUnbatched } from '../../../../src/bench/variants/weft.ts';
import type { Lab } from '../../../../src/lab/lab.ts';

t.test('each proxy has one worker, whatever the machine has, and no access log', async (t) => {
  const commands: (readonly string[])[] = [];
  const lab = {
    plan: { nodes: [{ name: 'node-a' }, { name: 'node-b' }] },
    kill: async () => undefined,
    ready: async () => undefined,
    restart: async (_: string, change: (command: readonly string[]) => readonly string[]) => {
      commands.push(change(['ztunnel']));
    },
  };
  await weft.start(lab as unknown as Lab, { sessions: true, engine: ['tunnelIdleMs=0'] });
  const flags = ['--workers', '1', '--access-log', 'off', '--engine', 'tunnelIdleMs=0'];
  const command = ['ztunnel', ...flags];
  t.strictSame(commands.splice(0), [command, command]);
  await weftUnbatched.start(lab as unknown as Lab, { sessions: true, engine: [] });
  const alone = ['ztunnel', '--workers', '1', '--access-log', 'off', '--engine', 'crypto=off'];
  t.strictSame(commands, [alone, alone]);
});
