// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { coverageJob, mirroring, tableIn } from '../../scripts/coverage.ts';

// It would clear away what the run that it is a part of has collected.
const skip = process.env['_TAPJS_PROCESSINFO_COVERAGE_'] === '1' && 'coverage is being measured';

t.test('only tests that mirror a source count', async (t) => {
  const files = [
    'test/scripts/tally.ts',
    'test/integration/retry.ts',
    'test/native/index/explain.ts',
  ];
  t.same(await mirroring(files), ['test/scripts/tally.ts', 'test/native/index/explain.ts']);
});

t.test('the table is what a reader is shown', async (t) => {
  const table = `File     | % Stmts | % Branch | % Funcs | % Lines | Uncovered Line #s
---------|---------|----------|---------|---------|------------------
tally.ts |   98.95 |    92.85 |     100 |   98.95 | 43`;
  const error = 'ERROR: Coverage for lines (98.95%) does not meet global threshold (100%)';
  t.equal(tableIn(`ok 1 - a | b\n${table}\n# time=1ms\n${error}\n`), `${table}\n${error}`);
});

t.test('a file is run with its source watched', { skip }, async (t) => {
  const { tally, output } = await coverageJob(['test/scripts/build.ts']).run();
  t.match(tally, { passed: 6, failed: 0 });
  t.match(output, /^ *build\.ts +\|/m);
});
