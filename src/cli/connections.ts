// SPDX-License-Identifier: Apache-2.0
import { Command } from 'commander';
import type { ConnectionStatus, ConnectionsAnswer } from '../lib/admin-api.ts';
import { askAll, type ProxyFlags, withProxyFlags } from './admin-client.ts';
import {
  bytesText,
  durationText,
  type OutputForm,
  type Print,
  runCommand,
  tableOf,
  toStdout,
  withOutputFlag,
} from './output.ts';

const head = ['NODE', 'WAY', 'POD', 'SOURCE', 'DESTINATION', 'BY', 'PEER', 'SENT', 'BACK', 'AGE'];

function row(node: string, each: ConnectionStatus): string[] {
  const inbound = each.direction === 'inbound';
  const path = each.mutualTls ? 'mutual TLS' : 'plaintext';
  return [
    ...[node, inbound ? 'in' : 'out', each.pod, each.source, each.destination],
    each.open ? path : 'opening',
    inbound ? each.sourceIdentity : each.destinationIdentity,
    ...[bytesText(each.bytesSent), bytesText(each.bytesReceived), durationText(each.ageMs)],
  ];
}

/** `weft connections`. Exit code 1 when a proxy does not answer. */
export async function main(argv: readonly string[], print: Print = toStdout): Promise<number> {
  let code = 0;
  const command = new Command('weft connections').description(
    'Show the connections that are open through the node proxies of this machine.',
  );
  withOutputFlag(withProxyFlags(command)).action(
    async (flags: ProxyFlags & { output: OutputForm }) => {
      const asked = await askAll<ConnectionsAnswer>(flags, '/connections');
      const answers = asked.flatMap((each) => ('answer' in each ? [each.answer] : []));
      const failed = asked.flatMap((each) => ('error' in each ? [each] : []));
      code = failed.length === 0 ? 0 : 1;
      if (flags.output === 'json') {
        const ok = failed.length === 0;
        print(`${JSON.stringify({ ok, proxies: [...answers, ...failed] })}\n`);
        return;
      }
      const rows = answers.flatMap(({ node, connections }) =>
        connections.map((each) => row(node, each)),
      );
      print(tableOf(head, rows));
      for (const { node, tunnels, omitted } of answers) {
        const more = omitted > 0 ? `, ${omitted} connections more than are shown` : '';
        print(`${node}: ${tunnels.length} tunnels${more}\n`);
      }
      for (const { error } of failed) {
        print(`${error}\n`);
      }
    },
  );
  return await runCommand(command, argv, () => code);
}
