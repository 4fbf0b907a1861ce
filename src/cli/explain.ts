// SPDX-License-Identifier: Apache-2.0
// `weft explain`: what becomes of a connection, by the live state of the proxies that decide.
import { Command } from 'commander';
import type { EndpointAnswer, ExplainAnswer, VerdictAnswer } from '../lib/admin-api.ts';
import { MeshError } from '../lib/error.ts';
import { adminSockets, askJson, type ProxyFlags, withProxyFlags } from './admin-client.ts';
import { type OutputForm, type Print, runCommand, toStdout, withOutputFlag } from './output.ts';

/** The explanation, and what the destination's own proxy says of it. */
export interface Explained extends ExplainAnswer {
  /** By the tables of the destination's node; absent when its proxy was not asked. */
  readonly confirmed?: { readonly node: string; readonly verdict: VerdictAnswer | undefined };
}

/** Splits DST:PORT; an IPv6 address stands in brackets. Throws MeshError `invalid`. */
export function parseDestination(text: string): { host: string; port: string } {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  const [, six, other, port = ''] = match ?? [];
  const host = six ?? other;
  if (host === undefined || Number(port) < 1 || Number(port) > 65_535) {
    throw new MeshError('invalid', `${text} is not DST:PORT, such as web.demo:80 or [fd00::1]:80`);
  }
  return { host, port };
}

function pathOf(source: string, host: string, port: string): string {
  return `/explain?${new URLSearchParams({ source, destination: host, port })}`;
}

interface Answered {
  readonly socket: string;
  readonly answer: ExplainAnswer;
}

async function askEach(sockets: readonly string[], path: string): Promise<Answered[]> {
  const asked = await Promise.allSettled(
    sockets.map(async (socket) => ({ socket, answer: await askJson<ExplainAnswer>(socket, path) })),
  );
  const answered = asked.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
  if (answered.length === 0) {
    const [first] = asked;
    throw MeshError.from(first?.status === 'rejected' ? first.reason : 'no proxy');
  }
  return answered;
}

/**
 * Asks every proxy. The source's own one decides; the destination's own one, where it is another,
 * is heard for its verdict.
 */
export async function explainBy(
  sockets: readonly string[],
  source: string,
  host: string,
  port: string,
  node?: string,
): Promise<Explained> {
  const answered = await askEach(sockets, pathOf(source, host, port));
  const own = answered.find(({ answer }) => answer.node === (node ?? answer.source.node));
  const decides = own ?? answered[0];
  if (decides === undefined) {
    throw new MeshError('unavailable', 'no proxy answers');
  }
  const { answer } = decides;
  const notes =
    own === undefined
      ? [`by the tables of ${answer.node}: the proxy of ${answer.source.node} was not asked`]
      : [];
  const [first] = answer.endpoints;
  const there = answered.find(({ answer: other }) => other.node === first?.node);
  const same = there?.answer.endpoints.find(({ workload }) => workload === first?.workload);
  const confirmed =
    there === undefined || there === decides || same === undefined
      ? {}
      : { confirmed: { node: there.answer.node, verdict: same.verdict } };
  return { ...answer, notes: [...notes, ...answer.notes], ...confirmed };
}

function verdictText(verdict: VerdictAnswer | undefined): string {
  if (verdict === undefined) {
    return 'not asked: no proxy stands at the destination';
  }
  const { allowed, policy, rule, reason } = verdict;
  const by = policy === '' ? '' : `, by ${policy}${rule < 0 ? '' : ` (rule ${rule + 1})`}`;
  return `${allowed ? 'allowed' : 'DENIED'}${by}: ${reason}`;
}

function endpointLines(endpoint: EndpointAnswer): [string, string][] {
  const { target = 'nowhere', workload, node, tunnel, expectedIdentities, path, why } = endpoint;
  const of = workload === undefined ? '' : `, ${workload} on ${node ?? '?'}`;
  const past = path === 'direct' ? ', past the proxy' : '';
  const by = tunnel === undefined ? past : `, through a tunnel to ${tunnel}`;
  return [
    ['endpoint', path === 'refused' ? `refused: ${why}` : `${target}${of}${by}`],
    ...expectedIdentities.map((id): [string, string] => ['has to be', id]),
    ['policy', verdictText(endpoint.verdict)],
  ];
}

function confirmedLine({ confirmed, endpoints }: Explained): [string, string][] {
  if (confirmed === undefined) {
    return [];
  }
  const here = verdictText(endpoints[0]?.verdict);
  const there = verdictText(confirmed.verdict);
  const text = here === there ? `${confirmed.node} says the same` : `${confirmed.node}: ${there}`;
  return [['there', text]];
}

/** The explanation for a person. */
export function textOf(explained: Explained): string {
  const { source, destination, path, why, sourceIdentity, service, endpoints } = explained;
  const more = explained.endpointsTotal - endpoints.length;
  const to = destination.address.includes(':') ? `[${destination.address}]` : destination.address;
  const lines: [string, string][] = [
    ['from', `${source.workload} on ${source.node || '?'}`],
    ['to', `${to}:${destination.port}${service === '' ? '' : `, the service ${service}`}`],
    ['path', `${path}: ${why}`],
    ['identity', sourceIdentity === '' ? 'none: plaintext proves nothing' : sourceIdentity],
    ...endpoints.flatMap(endpointLines),
    ...(more > 0 ? [['endpoint', `${more} more`] as [string, string]] : []),
    ...confirmedLine(explained),
    ...explained.notes.map((note): [string, string] => ['note', note]),
  ];
  const clean = (text: string): string => text.replace(/\p{Cc}/gu, '?');
  return lines.map(([name, text]) => `${name.padEnd(10)} ${clean(text)}\n`).join('');
}

/** `weft explain SRC DST:PORT`. Exit code 0 whenever it can be explained, refused or not. */
export async function main(argv: readonly string[], print: Print = toStdout): Promise<number> {
  const command = new Command('weft explain')
    .description('Say what becomes of a connection, and why, by the state that the proxies have.')
    .argument('<source>', 'pod: NAMESPACE/NAME, NAME or address')
    .argument('<destination:port>', 'service (NAME.NAMESPACE, hostname), pod or address, and port');
  withOutputFlag(withProxyFlags(command)).action(
    async (source: string, to: string, flags: ProxyFlags & { output: OutputForm }) => {
      const { host, port } = parseDestination(to);
      const sockets = adminSockets(flags, process.env);
      const explained = await explainBy(sockets, source, host, port, flags.node);
      print(flags.output === 'json' ? `${JSON.stringify(explained)}\n` : textOf(explained));
    },
  );
  return await runCommand(command, argv, () => 0);
}
