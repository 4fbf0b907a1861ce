// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import {
  paceCommand,
  paceOf,
  paceReportOf,
  paceShareMin,
  tells,
  type Workload,
  workloads,
} from '../../../src/bench/workloads.ts';

const sockperf = `sockperf: Summary: Round trip is 68.221 usec
sockperf: Total 41000 observations; each percentile contains 410.00 observations
sockperf: ---> percentile 99.900 =  240.250
sockperf: ---> percentile 99.000 =  120.500
sockperf: ---> percentile 90.000 =   80.750
sockperf: ---> percentile 50.000 =   66.125
`;
const wrk = `  143210 requests in 3.00s, 175.11MB read
Requests/sec:  47712.33
`;
const iperf = JSON.stringify({ end: { sum_received: { bits_per_second: 7.5e9, bytes: 2e9 } } });
const latencies = { '50th': 181_000, '90th': 250_500, '99th': 990_000 };
const paced = { latencies, requests: 3000, rate: 1000, success: 1, errors: [] };

interface Expected {
  readonly output: string;
  readonly figures: readonly (number | undefined)[];
  readonly work: number | undefined;
}

const byTool: Readonly<Record<string, Expected>> = {
  sockperf: { output: sockperf, figures: [66.125, 80.75, 120.5, 240.25], work: undefined },
  wrk: { output: wrk, figures: [47712.33], work: 143210 },
  iperf3: { output: iperf, figures: [7.5], work: 2 },
};

function expectedOf(workload: Workload): Expected {
  if (workload.tool === 'vegeta') {
    const rate = paceOf(workload.name)?.rate;
    const output = JSON.stringify({ ...paced, rate });
    return { output, figures: [181, 250.5, 990], work: 3000 };
  }
  const found = byTool[workload.tool];
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

t.test('tells no percentile with fewer than ten samples beyond it', async (t) => {
  t.ok(tells(99.9, 10_000));
  t.notOk(tells(99.9, 9_999));
  const few = sockperf.replace('41000', '1200');
  const figures = workloads.find(({ name }) => name === 'rtt64')?.figures ?? [];
  t.strictSame(
    figures.map(({ parse }) => parse(few)),
    [66.125, 80.75, 120.5, undefined],
  );
});

t.test('takes no figure from a constant rate with a failed request', async (t) => {
  const failed = { ...paced, success: 0.99, errors: ['503 Service Unavailable'] };
  const pace = workloads.find(({ tool }) => tool === 'vegeta');
  t.throws(() => pace?.figures[0]?.parse(JSON.stringify(failed)), {
    code: 'invalid',
    message: 'vegeta: 503 Service Unavailable',
  });
});

t.test('takes no figure from a tool that could not keep its rate', async (t) => {
  const pace = { rate: 4000 };
  const sent = (rate: number): string => JSON.stringify({ ...paced, rate });
  t.equal(paceReportOf(sent(4000 * paceShareMin), pace).requests, 3000);
  t.throws(() => paceReportOf(sent(4000 * paceShareMin - 1), pace), {
    code: 'invalid',
    message: 'vegeta sent 3959 requests a second of 4000: it did not keep its rate',
  });
});

t.test('a run in which nothing was carried is none', async (t) => {
  const nothing: Readonly<Record<string, string>> = {
    http64: '  0 requests in 3.00s, 0.00B read\nRequests/sec:      0.00\n',
    up1: JSON.stringify({ end: { sum_received: { bits_per_second: 0, bytes: 0 } } }),
  };
  for (const [name, output] of Object.entries(nothing)) {
    const workload = workloads.find((each) => each.name === name);
    t.throws(() => workload?.figures[0]?.parse(output), { code: 'invalid' }, name);
    t.throws(() => workload?.work?.of(output), { code: 'invalid' }, name);
  }
});

t.test('a constant rate is known by its name', async (t) => {
  t.strictSame(paceOf('pace4000x16'), { rate: 4000, connections: 16 });
  t.equal(paceOf('http16'), undefined);
  t.match(paceCommand('10.0.0.9', 3, { rate: 4000, connections: 16 }).join(' '), /-rate=4000\/s /);
});

t.test('gives every tool the address and the time, and each load a name of its own', async (t) => {
  for (const workload of workloads) {
    const command = workload.command('10.0.0.9', 7).join(' ');
    t.match(command, '10.0.0.9');
    t.match(command, /7/);
  }
  t.equal(new Set(workloads.map(({ name }) => name)).size, workloads.length);
});
