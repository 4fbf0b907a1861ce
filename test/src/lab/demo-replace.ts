// SPDX-License-Identifier: Apache-2.0
// The row about replaced proxies fails when they do not let connections end.
import t from 'tap';
import { replaceRow } from '../../../src/lab/demo-replace.ts';
import { skipLab, startLab } from '../../support/trust-lab.ts';

t.setTimeout(240_000);

t.test('connections that are cut fail the row', { skip: skipLab, timeout: 200_000 }, async (t) => {
  const lab = await startLab(t, ['--drain-max', '1s']);
  const row = await replaceRow(lab).catch((error: Error) => ({ ok: false, seen: error.message }));
  t.equal(row.ok, false);
  t.match(row.seen, /ECONNRESET|bytes were lost|[1-9]\d* cut/);
});
