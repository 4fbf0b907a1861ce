// SPDX-License-Identifier: Apache-2.0
import { Command } from 'commander';
import type { CertificatesAnswer } from '../lib/admin-api.ts';
import { askAll, type ProxyFlags, withProxyFlags } from './admin-client.ts';
import {
  durationText,
  type OutputForm,
  type Print,
  runCommand,
  tableOf,
  toStdout,
  withOutputFlag,
} from './output.ts';

function rowsOf({ node, certificates }: CertificatesAnswer, now: number): string[][] {
  return certificates.map(({ identity, state, certChain, rootCerts }) => {
    const [leaf] = certChain;
    const left = leaf === undefined ? 0 : Date.parse(leaf.expirationTime) - now;
    const ends = left > 0 ? `in ${durationText(left)}` : 'ended';
    return [node, identity, state, ends, leaf?.serialNumber ?? '', String(rootCerts.length)];
  });
}

/** `weft certs`. Exit code 1 when one has expired or a proxy does not answer. */
export async function main(argv: readonly string[], print: Print = toStdout): Promise<number> {
  let code = 0;
  const command = new Command('weft certs').description(
    'Show the certificates that the node proxies of this machine hold. Keys are never shown.',
  );
  withOutputFlag(withProxyFlags(command)).action(
    async (flags: ProxyFlags & { output: OutputForm }) => {
      const asked = await askAll<CertificatesAnswer>(flags, '/certificates');
      const answers = asked.flatMap((each) => ('answer' in each ? [each.answer] : []));
      const all = answers.flatMap(({ certificates }) => certificates);
      const ok = answers.length === asked.length && all.every(({ state }) => state !== 'Expired');
      code = ok ? 0 : 1;
      if (flags.output === 'json') {
        print(`${JSON.stringify({ ok, proxies: asked.map(flat) })}\n`);
        return;
      }
      const rows = answers.flatMap((answer) => rowsOf(answer, Date.now()));
      print(tableOf(['NODE', 'IDENTITY', 'STATE', 'ENDS', 'SERIAL', 'ROOTS'], rows));
      for (const each of asked) {
        print('error' in each ? `${each.error}\n` : '');
      }
    },
  );
  return await runCommand(command, argv, () => code);
}

const flat = <T extends { socket: string }>(asked: T): object =>
  'answer' in asked ? { socket: asked.socket, ...(asked.answer as object) } : asked;
