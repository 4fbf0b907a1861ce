// SPDX-License-Identifier: Apache-2.0
// The control plane is played by the test; a real one is in test/integration/trust/rotation.ts.
import t, { type Test } from 'tap';
import { main } from '../../../src/control/ca.ts';
import { type CommandHandler, CommandSocket } from '../../../src/control/command-socket.ts';
import { MeshError } from '../../../src/lib/error.ts';
import { createLog } from '../../../src/lib/log.ts';

const since = '2030-01-01T00:00:00.000Z';
const steady = { phase: 'steady', epoch: 4, since, walks: false, waitsFor: [] };
const prepared = { phase: 'prepared', epoch: 2, since, walks: true, waitsFor: ['a', 'b'] };
const activated = { ...prepared, phase: 'activated', epoch: 3, waitsFor: [] };

async function serve(t: Test, routes: Record<string, CommandHandler>): Promise<string> {
  const folder = t.testdir();
  const log = createLog('test', 'silent');
  const socket = await CommandSocket.open(folder, new Map(Object.entries(routes)), log);
  t.teardown(() => socket.close());
  return folder;
}

/** Runs the verb and returns what it wrote to standard output. */
async function printed(t: Test, argv: readonly string[]): Promise<string> {
  const written: string[] = [];
  const capture = t.intercept(process.stdout, 'write', {
    value: (text: string) => written.push(text) > 0,
  });
  try {
    await main(argv);
  } finally {
    capture.restore();
  }
  return written.join('');
}

t.test('the state is shown, for people and for programs', async (t) => {
  const state = await serve(t, { 'GET /ca': () => prepared });
  t.equal(
    await printed(t, ['status', '--state', state]),
    `prepared, epoch 2, since ${since}, goes on by itself\n  waits for a\n  waits for b\n`,
  );
  const json = await printed(t, ['status', '--state', state, '-o', 'json']);
  t.same(JSON.parse(json), prepared);
});

t.test('a rotation is followed to its end, each state told once', async (t) => {
  const states = [prepared, activated, steady];
  const routes = { 'POST /ca/rotate': () => prepared, 'GET /ca': () => states.shift() ?? steady };
  const text = await printed(t, ['rotate', '--state', await serve(t, routes)]);
  t.same(text.match(/^\w+, epoch \d/gm), [
    'prepared, epoch 2',
    'activated, epoch 3',
    'steady, epoch 4',
  ]);
});

t.test('a rotation goes on by itself when nobody waits', async (t) => {
  const state = await serve(t, { 'POST /ca/rotate': () => prepared });
  t.match(await printed(t, ['rotate', '--no-wait', '--state', state]), /^prepared/);
});

t.test('each step is asked for by its name, with or without force', async (t) => {
  const asked: (string | null)[] = [];
  const step: CommandHandler = (query) => {
    asked.push(query.get('force'));
    return steady;
  };
  const verbs = ['prepare', 'activate', 'finish'];
  const routes = Object.fromEntries(verbs.map((verb) => [`POST /ca/${verb}`, step]));
  const state = await serve(t, routes);
  for (const verb of verbs) {
    await printed(t, [verb, '--state', state]);
    await printed(t, [verb, '--force', '--state', state]);
  }
  t.same(asked, ['false', 'true', 'false', 'true', 'false', 'true']);
});

t.test('a step that may not be taken yet is an error with its reason', async (t) => {
  const refuse: CommandHandler = () => {
    throw new MeshError('conflict', 'activate waits for node a');
  };
  const state = await serve(t, { 'POST /ca/activate': refuse });
  const running = main(['activate', '--state', state]);
  await t.rejects(running, { code: 'conflict', message: 'activate waits for node a' });
});

t.test('without a control plane, and without a folder, it says so', async (t) => {
  t.intercept(process.stderr, 'write', { value: () => true });
  await t.rejects(main(['status', '--state', t.testdir()]), { code: 'unavailable' });
  await t.rejects(main(['status']), { code: 'commander.missingMandatoryOptionValue' });
});
