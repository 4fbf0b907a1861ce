// SPDX-License-Identifier: Apache-2.0
import { Command } from 'commander';
import type { ProxyStatus } from '../lib/admin-api.ts';
import { type Asked, askAll, type ProxyFlags, withProxyFlags } from './admin-client.ts';
import { captureStatus, captureStatusTable } from './capture-status.ts';
import { controlStatus, controlTable } from './control-status.ts';
import { cryptoStatusTables } from './crypto-status.ts';
import {
  durationText,
  type OutputForm,
  type Print,
  runCommand,
  tableOf,
  toStdout,
  withOutputFlag,
} from './output.ts';

const head = [
  'NODE',
  'READY',
  'PODS',
  'KERNEL',
  'WORKLOADS',
  'SERVICES',
  'POLICIES',
  'CERTS',
  'UP',
  '',
];

function row(asked: Asked<ProxyStatus>): string[] {
  if ('error' in asked) {
    return ['?', 'no', '', '', '', '', '', '', '', asked.error];
  }
  const { node, ready, pods, workloads, services, policies } = asked.answer;
  const { capture, certificates, uptimeSeconds, pending, synced } = asked.answer;
  const carried = pods.filter((pod) => pod.carried).length;
  const stale = synced ? '' : 'serves from saved state: the control plane has not answered yet';
  return [
    ...[node, ready ? 'yes' : 'no', `${carried}/${pods.length}`],
    `${capture.kernelPods}/${pods.length}`,
    ...[workloads, services, policies, certificates].map(String),
    durationText(1000 * uptimeSeconds),
    ready ? stale : `waits for: ${pending.join(', ')}`,
  ];
}

function podRow(node: string, pod: ProxyStatus['pods'][number]): string[] {
  const { namespace, name, identity, carried } = pod;
  return [node, `${namespace}/${name}`, carried ? 'yes' : 'no', identity];
}

// What never happened is not worth a line.
function counterRows({ node, capture }: ProxyStatus): string[][] {
  return Object.entries(capture.counters)
    .filter(([, times]) => times > 0)
    .map(([name, times]) => [node, name, String(times)]);
}

interface StatusFlags extends ProxyFlags {
  readonly output: OutputForm;
  readonly control?: string;
}

function proxyTables(asked: readonly Asked<ProxyStatus>[]): string {
  const answers = asked.flatMap((each) => ('answer' in each ? [each.answer] : []));
  const pods = answers.flatMap(({ node, pods: own }) => own.map((pod) => podRow(node, pod)));
  const notes = new Set(answers.flatMap((answer) => answer.notes));
  return [
    tableOf(head, asked.map(row)),
    tableOf(['NODE', 'POD', 'CARRIED', 'IDENTITY'], pods),
    tableOf(['NODE', 'IN THE KERNEL', 'TIMES'], answers.flatMap(counterRows)),
    cryptoStatusTables(answers),
    [...notes].map((note) => `note: ${note}\n`).join(''),
  ].join('\n');
}

/** `weft status`. Exit code 1 when a proxy is not ready or does not answer. */
export async function main(argv: readonly string[], print: Print = toStdout): Promise<number> {
  let code = 0;
  const command = new Command('weft status')
    .description('Show whether the node proxies of this machine are ready, and what they carry.')
    .option(
      '--control <folder>',
      'also the nodes as the control plane of this state folder sees them',
    );
  withOutputFlag(withProxyFlags(command)).action(async (flags: StatusFlags) => {
    const asked = await askAll<ProxyStatus>(flags, '/status');
    const control = flags.control === undefined ? undefined : await controlStatus(flags.control);
    const captures = await captureStatus(asked.map(({ socket }) => socket));
    const ok = asked.every((each) => 'answer' in each && each.answer.ready);
    code = ok ? 0 : 1;
    if (flags.output === 'json') {
      const proxies = asked.map((each) => {
        return 'answer' in each ? { socket: each.socket, ...each.answer } : each;
      });
      print(`${JSON.stringify({ ok, proxies, captures, control })}\n`);
      return;
    }
    print(proxyTables(asked) + captureStatusTable(captures));
    print(control === undefined ? '' : `\n${controlTable(control)}`);
  });
  return await runCommand(command, argv, () => code);
}
