// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { type Workload, workloads } from '../../../src/bench/workloads.ts';

const sockperf = `sockperf: Summary: Round trip is 68.221 usec
sockperf: ---> percentile 99.000 =  120.500
sockperf: ---> percentile 50.000 =   66.125
`;
const wrk = `  143210 requests in 3.00s, 175.11MB read
Requests/sec:  47712.33
`;
const iperf = JSON.stringify({ end: { sum_received: { bits_per_second: 7.5e9, bytes: 2e9 } } });

interface Expected {
  readonly output: string;
  readonly figures: readonly number[];
  readonly work: number | undefined;
}

const byTool: Readonly<Record<string, Expected>> = {
  sockperf: { output: sockperf, figures: [66.125, 120.5], work: undefined },
  wrk: { output: wrk, figures: [47712.33], work: 143210 },
  iperf3: { output: iperf, figures: [7.5], work: 2 },
};

function expectedOf(workload: Workload): Expected {
  const found = byTool[workload.command('', 1)[0] ?? ''];
  if (found === undefined) {
    throw new Error(`no example for ${workload.name}`);
  }
  return found;
}

t.test('reads each figure, and how much was done, from what the load tool prints', async (t) => {
  for (const workload of workloads) {
    const { output, figures, work } = expectedOf(workload);
    t.strictSame(
      workload.figures.map((figure) => figure.parse(output)),
      figures,
      workload.name,
    );
    t.equal(workload.work?.of(output), work, workload.name);
  }
});

t.test('says so when the tool printed no figure', async (t) => {
  for (const workload of workloads) {
    for (const figure of workload.figures) {
      t.throws(() => figure.parse('{}'), { code: 'invalid' }, workload.name);
    }
  }
});

t.test('takes no figure from a run with failed requests', async (t) => {
  const http = workloads.find(({ name }) => name === 'crr32');
  for (const line of [
    'Socket errors: connect 0, read 4, write 0, timeout 0',
    'Non-2xx or 3xx responses: 7',
  ]) {
    t.throws(() => http?.figures[0]?.parse(`${wrk}  ${line}\n`), {
      code: 'invalid',
      message: `wrk: ${line}`,
    });
  }
});

t.test('gives every tool the address and the time, and each load a name of its own', async (t) => {
  for (const workload of workloads) {
    const command = workload.command('10.0.0.9', 7).join(' ');
    t.match(command, '10.0.0.9');
    t.match(command, /7/);
  }
  t.equal(new Set(workloads.map(({ name }) => name)).size, workloads.length);
});
