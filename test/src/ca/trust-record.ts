// SPDX-License-Identifier: Apache-2.0
import { readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import {
  createTrustRecord,
  phaseOf,
  readTrustRecord,
  type TrustRecord,
  writeTrustRecord,
} from '../../../src/ca/trust-record.ts';

const record: TrustRecord = {
  version: 1,
  trustDomain: 'td',
  epoch: 1,
  active: { id: '00000001', kind: 'own' },
  since: '2030-01-01T00:00:00.000Z',
  walk: false,
};
const other = { id: '00000002', kind: 'given' } as const;

t.test('it comes back as it was written, for its owner only', async (t) => {
  const folder = t.testdir();
  t.equal(await readTrustRecord(folder), undefined);
  t.equal(await createTrustRecord(folder, record), true);
  t.equal(await createTrustRecord(folder, { ...record, epoch: 9 }), false, 'the first one stays');
  t.same(await readTrustRecord(folder), record);
  await writeTrustRecord(folder, { ...record, next: other, epoch: 2 });
  t.same(await readTrustRecord(folder), { ...record, next: other, epoch: 2 });
  t.equal(statSync(join(folder, 'trust.json')).mode & 0o777, 0o600);
  t.same(readdirSync(folder), ['trust.json'], 'nothing is left beside it');
});

t.test('the phase is what it names', (t) => {
  t.equal(phaseOf(record), 'steady');
  t.equal(phaseOf({ ...record, next: other }), 'prepared');
  t.equal(phaseOf({ ...record, retired: other }), 'activated');
  t.end();
});

t.test('what is no record is refused', async (t) => {
  const folder = t.testdir();
  const wrong = [
    '',
    '{}',
    JSON.stringify({ ...record, version: 2 }),
    JSON.stringify({ ...record, epoch: 0 }),
    JSON.stringify({ ...record, active: { id: '../../etc', kind: 'own' } }),
    JSON.stringify({ ...record, more: 1 }),
  ];
  for (const text of wrong) {
    writeFileSync(join(folder, 'trust.json'), text);
    await t.rejects(readTrustRecord(folder), { code: 'invalid' }, text);
  }
});
