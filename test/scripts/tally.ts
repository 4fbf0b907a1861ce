// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { reportOf, sumOf, tallyOne, tallyTap } from '../../scripts/tally.ts';

const nested = `TAP version 14
# Subtest: test/a.ts
    # Subtest: adds
        ok 1 - one and one
        not ok 2 - one and two
        1..2
    not ok 1 - adds
    ok 2 - alone
    ok 3 - needs root # SKIP not root
    1..3
not ok 1 - test/a.ts
1..1
`;

t.test('counts leaves and leaves out the summaries of subtests', async (t) => {
  const tally = tallyTap(nested, 'tap');
  t.equal(tally.passed, 2);
  t.equal(tally.failed, 1);
  t.same(tally.failures, ['test/a.ts > adds > one and two']);
});

t.test('a skip counts neither way and keeps its reason', async (t) => {
  t.same(tallyTap(nested, 'tap').skipped, ['test/a.ts > needs root: not root']);
});

t.test('a file that crashed after passing tests is one failure', async (t) => {
  const tap = `TAP version 14
# Subtest: test/b.ts
    ok 1 - early
    1..1
not ok 1 - test/b.ts
  ---
  signal: SIGSEGV
  ...
1..1
`;
  const tally = tallyTap(tap, 'tap');
  t.equal(tally.passed, 1);
  t.same(tally.failures, ['test/b.ts']);
});

t.test('a stream that breaks off is a failure', async (t) => {
  const tally = tallyTap('TAP version 14\nok 1 - first\n', 'unit');
  t.equal(tally.passed, 1);
  t.same(tally.failures, ['unit: its report is incomplete']);
  t.equal(tallyTap('', 'unit').failed, 1);
  t.equal(tallyTap('TAP version 14\nok 1 - first\n1..3\n', 'unit').failed, 1);
});

t.test('a clean flat stream has no failure', async (t) => {
  t.match(tallyTap('TAP version 14\nok 1 - a\nok 2 - b\n1..2\n', 'unit'), { passed: 2, failed: 0 });
});

t.test('the report ends with the counts', async (t) => {
  const sum = sumOf([tallyTap(nested, 'tap'), tallyOne('fuzz', undefined), tallyOne('x', 'crash')]);
  t.match(reportOf(sum), /failed: x: crash\n3 passed, 2 failed\n$/);
  t.match(reportOf(sum), /skipped: test\/a.ts > needs root: not root\n/);
});
