// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { queriesPerTurn, Turns, waitingMax } from '../../../ztunnel/dns/turns.ts';

/** Resolves behind the immediates that are queued already. */
const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

t.test('so many wait for one pod, and one more does not', async (t) => {
  const line = new Turns().line();
  let done = 0;
  const work = (): void => {
    done += 1;
  };
  for (let i = 0; i < waitingMax; i += 1) {
    t.ok(line.push(work));
  }
  t.notOk(line.push(work));
  t.equal(done, 0, 'nothing before the others had a chance to come');
  while (done < waitingMax) {
    const before = done;
    await nextTurn();
    t.equal(done - before, queriesPerTurn);
  }
  await nextTurn();
  t.equal(done, waitingMax);
  t.ok(line.push(work));
});

t.test('whoever asks most waits as the others do', async (t) => {
  const turns = new Turns();
  const said: string[] = [];
  const [busy, quiet, third] = [turns.line(), turns.line(), turns.line()];
  for (let i = 0; i < waitingMax; i += 1) {
    busy.push(() => said.push('busy'));
  }
  quiet.push(() => said.push('quiet'));
  await nextTurn();
  t.strictSame(said, ['busy', 'quiet', 'busy', 'busy']);
  said.length = 0;
  // It waits for one of the other's, wherever it comes in.
  third.push(() => said.push('third'));
  third.push(() => said.push('third'));
  await nextTurn();
  t.strictSame(said, ['busy', 'third', 'busy', 'third']);
});

t.test('a line that is cleared does nothing, and can be used again', async (t) => {
  const line = new Turns().line();
  const said: string[] = [];
  line.push(() => said.push('gone'));
  line.clear();
  line.push(() => said.push('new'));
  await nextTurn();
  await nextTurn();
  t.strictSame(said, ['new']);
});

t.test('work that asks for more work leaves it to a later turn', async (t) => {
  const line = new Turns().line();
  let done = 0;
  const again = (): void => {
    done += 1;
    line.push(again);
  };
  again();
  for (let turn = 1; turn <= 3; turn += 1) {
    await nextTurn();
    t.ok(done <= 1 + turn * queriesPerTurn, `${done} in ${turn} turns`);
  }
  line.clear();
});
