// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { workloads } from '../../../src/bench/workloads.ts';

const sockperf = `sockperf: Summary: Round trip is 68.221 usec
sockperf: ---> percentile 99.000 =  120.500
sockperf: ---> percentile 50.000 =   66.125
`;
const wrk = `  143210 requests in 3.00s, 175.11MB read
Requests/sec:  47712.33
`;
const iperf = JSON.stringify({ end: { sum_received: { bits_per_second: 7.5e9, bytes: 2e9 } } });
const outputs = [sockperf, wrk, iperf, iperf];
const expected = [[66.125, 120.5], [47712.33], [7.5], [7.5]];

t.test('reads each figure from what the load tool prints', async (t) => {
  for (const [index, workload] of workloads.entries()) {
    const output = outputs[index] ?? '';
    const figures = workload.figures.map((figure) => figure.parse(output));
    t.strictSame(figures, expected[index], workload.name);
  }
});

t.test('reads how much was done, for CPU per unit of work', async (t) => {
  const done = workloads.map((workload, index) => workload.work?.of(outputs[index] ?? ''));
  t.strictSame(done, [undefined, 143210, 2, 2]);
});

t.test('says so when the tool printed no figure', async (t) => {
  for (const workload of workloads) {
    for (const figure of workload.figures) {
      t.throws(() => figure.parse('{}'), { code: 'invalid' }, workload.name);
    }
  }
});

t.test('gives every tool the address and the time', async (t) => {
  for (const workload of workloads) {
    const command = workload.command('10.0.0.9', 7).join(' ');
    t.match(command, '10.0.0.9');
    t.match(command, /7/);
  }
});
