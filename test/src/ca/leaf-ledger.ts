// SPDX-License-Identifier: Apache-2.0
import { appendFileSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { LeafLedger, type LedgerEntry, staleLinesMax } from '../../../src/ca/leaf-ledger.ts';

const now = new Date('2030-01-01T00:00:00Z');

function entry(change: Partial<LedgerEntry> = {}): LedgerEntry {
  const spiffeId = 'spiffe://td/ns/demo/sa/web';
  const notAfter = new Date(now.getTime() + 60_000);
  return { node: 'a', spiffeId, generation: '11111111', serial: 'ab', notAfter, ...change };
}

async function opened(t: Test, folder: string, time = now): Promise<LeafLedger> {
  const ledger = await LeafLedger.open(folder, time);
  t.teardown(() => ledger.close());
  return ledger;
}

t.test('who holds a leaf is known at once, and to a process that comes after a kill', async (t) => {
  const folder = t.testdir();
  const ledger = await opened(t, folder);
  await ledger.record(entry(), now);
  await ledger.record(entry({ node: 'b' }), now);
  t.same(ledger.holders('11111111', now), [entry(), entry({ node: 'b' })]);
  const other = await opened(t, folder);
  t.same(other.holders('11111111', now), [entry(), entry({ node: 'b' })]);
  t.equal(statSync(join(folder, 'leaves.jsonl')).mode & 0o777, 0o600);
});

t.test('a leaf under another generation takes the place of the one before', async (t) => {
  const ledger = await opened(t, t.testdir());
  await ledger.record(entry(), now);
  await ledger.record(entry({ generation: '22222222' }), now);
  t.same(ledger.holders('11111111', now), []);
  t.equal(ledger.holders('22222222', now).length, 1);
});

t.test('what has expired is not held, and forgotten at the next start', async (t) => {
  const folder = t.testdir();
  const ledger = await opened(t, folder);
  await ledger.record(entry(), now);
  const later = entry().notAfter;
  t.same(ledger.holders('11111111', later), []);
  await opened(t, folder, later);
  t.equal(readFileSync(join(folder, 'leaves.jsonl'), 'utf8'), '');
});

t.test('a torn last line is left out', async (t) => {
  const folder = t.testdir();
  await (await opened(t, folder)).record(entry(), now);
  appendFileSync(join(folder, 'leaves.jsonl'), '["b","spiffe');
  const again = await opened(t, folder);
  t.same(again.holders('11111111', now), [entry()]);
  await again.record(entry({ node: 'c' }), now);
  t.equal((await opened(t, folder)).holders('11111111', now).length, 2);
});

t.test('the journal is written anew when most of it is stale', async (t) => {
  const folder = t.testdir();
  const ledger = await opened(t, folder);
  const lines = (): number =>
    readFileSync(join(folder, 'leaves.jsonl'), 'utf8').split('\n').length - 1;
  for (let i = 0; i <= staleLinesMax + 1; i += 1) {
    await ledger.record(entry({ serial: String(i) }), now);
  }
  t.equal(lines(), staleLinesMax + 2);
  await ledger.record(entry({ serial: 'last' }), now);
  t.equal(lines(), 2);
  t.match((await opened(t, folder)).holders('11111111', now), [{ serial: 'last' }]);
});

t.test('there is room for so many, and for those that take the place of another', async (t) => {
  const ledger = await LeafLedger.open(t.testdir(), now, 2);
  t.teardown(() => ledger.close());
  await ledger.record(entry(), now);
  await ledger.record(entry({ node: 'b' }), now);
  await t.rejects(ledger.record(entry({ node: 'c' }), now), { code: 'limit' });
  await ledger.record(entry({ node: 'b', serial: 'cd' }), now);
  const later = entry().notAfter;
  const notAfter = new Date(later.getTime() + 60_000);
  await ledger.record(entry({ node: 'c', notAfter }), later);
  t.match(ledger.holders('11111111', later), [{ node: 'c' }], 'what has expired makes room');
});
