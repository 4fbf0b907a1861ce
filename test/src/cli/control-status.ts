// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { controlStatus, controlTable } from '../../../src/cli/control-status.ts';
import { CommandSocket } from '../../../src/control/command-socket.ts';
import { createLog } from '../../../src/lib/log.ts';

const type = 'type.googleapis.com/istio.workload.Address';
const streams = [
  {
    caller: { node: 'a', name: 'a' },
    subscriptions: [
      { type, acked: 7, newest: 7, nacks: 0 },
      { type, acked: 4, newest: 7, nacks: 1, complaint: { message: 'x: is\nbad' } },
      { type, newest: 7, nacks: 0 },
    ],
  },
];

t.test('each node is shown with how far it is, and what it refused', async (t) => {
  const folder = t.testdir();
  const routes = new Map([['GET /xds', () => ({ streams })]]);
  const socket = await CommandSocket.open(folder, routes, createLog('test', 'silent'));
  t.teardown(() => socket.close());
  const lines = controlTable(await controlStatus(folder)).split('\n');
  t.match(lines, [
    /^NODE +TYPE +HAS /,
    /^a +Address +newest +0$/,
    /^a +Address +3 changes behind +1 +x: is\?bad$/,
    /^a +Address +7 changes behind +0$/,
  ]);
});

t.test('without a control plane there that is the error', async (t) => {
  await t.rejects(controlStatus(t.testdir()), { code: 'unavailable' });
});
