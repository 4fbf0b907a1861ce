// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { writeReport } from '../../../../src/bench/report/report.ts';
import { saveResults } from '../../../../src/bench/results.ts';

t.test('draws one file, compares two, and takes no more', async (t) => {
  const folder = t.testdir();
  const body = { rounds: 1, seconds: 1, variants: [], results: [], notRun: [] };
  const a = await saveResults(folder, body, 'a');
  const b = await saveResults(folder, body, 'b');
  const page = join(folder, 'page.html');
  t.equal(await writeReport([a], page), page);
  t.notMatch(readFileSync(page, 'utf8'), 'What changed');
  await writeReport([a, b], page);
  t.match(readFileSync(page, 'utf8'), 'What changed');
  await t.rejects(writeReport([], page), { code: 'invalid' });
  await t.rejects(writeReport([a, b, a], page), { code: 'invalid' });
});
