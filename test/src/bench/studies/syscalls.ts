// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { callsOf, isMinimal, roundTripsOf } from '../../../../src/bench/studies/syscalls.ts';

const table = `% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 39.36    0.024511          29       827           sendto
 34.05    0.021206          25       829           epoll_wait
 26.59    0.016560          20       820         7 recvfrom
  0.01    0.000001           1         7           read
  0.00    0.000000           0         3           futex
------ ----------- ----------- --------- --------- ----------------
100.00    0.062277          25      2486         7 total
`;

t.test('sums up calls by what they do', async (t) => {
  t.strictSame(callsOf(table), { waits: 829, reads: 827, writes: 827, others: 3 });
});

t.test('a trace of nothing has no calls', async (t) => {
  t.strictSame(callsOf(''), { waits: 0, reads: 0, writes: 0, others: 0 });
});

t.test('knows how many round trips there were, the warm-up included', async (t) => {
  const line =
    'sockperf: [Total Run] RunTime=1.000 sec; Warm up time=400 msec; SentMessages=811; ReceivedMessages=810';
  t.equal(roundTripsOf(`x\n${line}\n`), 810);
  t.throws(() => roundTripsOf('sockperf: ERROR'), { code: 'invalid' });
});

t.test('one wait, one read and one write for each direction is the minimum', async (t) => {
  const row = { variant: 'weft', node: 'node-a', waits: 2, reads: 2, writes: 2.1, others: 9 };
  t.ok(isMinimal(row));
  for (const key of ['waits', 'reads', 'writes']) {
    t.notOk(isMinimal({ ...row, [key]: 2.2 }), key);
  }
});
