// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { buildJob, tapJob } from '../../scripts/native-jobs.ts';
import { tallyOne } from '../../scripts/tally.ts';

/** Stands for an emulator: reports what it is to run, and with which arguments, as `verdict`. */
const emulator = (verdict: string): string[] => [
  ...['sh', '-c', `echo "TAP version 14"; echo "${verdict} 1 - $(basename $0) $*"; echo 1..1`],
];

t.test('a program is run by its emulator, without what is left out, and told why', async (t) => {
  const leftOut = [
    { tests: 'one*', why: 'too slow' },
    { tests: 'two', why: 'not there' },
  ];
  const job = tapJob({
    ...{ name: 'unit', path: 'lane/unit', args: ['-x'], emulator: emulator('not ok'), leftOut },
  });
  const { tally } = await job.run();
  t.same(tally.failures, ['unit > unit -x --test-case-exclude=one*,two']);
  t.same(tally.skipped, ['unit > one*: too slow', 'unit > two: not there']);
});

t.test('what is emulated is not asked for AVX-512, but for any other mode', async (t) => {
  const before = process.env['WEFT_CRYPTO'] ?? '';
  t.teardown(() => {
    process.env['WEFT_CRYPTO'] = before;
  });
  const says = ['sh', '-c', 'echo "TAP version 14"; echo "not ok 1 - [$WEFT_CRYPTO]"; echo 1..1'];
  for (const [mode, seen] of [
    ['avx512', ''],
    ['scalar', 'scalar'],
  ] as const) {
    process.env['WEFT_CRYPTO'] = mode;
    const { tally } = await tapJob({ name: 'unit', path: 'unit', emulator: says }).run();
    t.same(tally.failures, [`unit > [${seen}]`]);
  }
});

t.test('why a program cannot be prepared is told, and it is run all the same', async (t) => {
  const prepare = (): Promise<never> => Promise.reject(new Error('no vectors'));
  const job = tapJob({ name: 'unit', path: 'unit', emulator: emulator('ok'), prepare });
  const { tally, output } = await job.run();
  t.equal(tally.passed, 1);
  t.match(output, /no vectors/);
});

t.test('a build that succeeds is no test point, and one that fails is', async (t) => {
  const good = await buildJob('it', () => Promise.resolve(), []).run();
  t.same(good.tally, { passed: 0, failed: 0, failures: [], skipped: [] });
  const bad = await buildJob('it', () => Promise.reject(new Error('no compiler')), []).run();
  t.same(bad.tally, tallyOne('build of it', 'failed'));
  t.match(bad.output, /no compiler/);
});
