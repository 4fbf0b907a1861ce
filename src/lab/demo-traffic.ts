// SPDX-License-Identifier: Apache-2.0
// Demo rows about what the pods' traffic looks like, from the ends and from the wire between.
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { ports } from '../lib/ports.ts';
import type { ProgramResult } from '../lib/program.ts';
import { unenrolPod } from './cni-client.ts';
import { analyse, type Recording, record, type Sighting } from './detector.ts';
import type { Lab } from './lab.ts';
import type { Row } from './report.ts';

/** Who asks, who answers, and by which addresses the server's service is reached. */
export const demo = {
  client: 'client',
  intruder: 'intruder',
  outsider: 'outsider',
  server: 'server',
  /** The name of its service. */
  name: 'web',
  vip4: '10.77.240.10',
  vip6: 'fd77:f0::10',
  webPort: 8080,
  bulkPort: 9000,
} as const;

const fresh = (): string => randomBytes(32).toString('hex');
const hostOf = (ip: string): string => (ip.includes(':') ? `[${ip}]` : ip);

/** One request with a secret in each place where a request can carry one. */
export interface TokenRequest {
  readonly path: string;
  readonly header: string;
  readonly body: string;
}

/** Makes fresh secrets of 32 random bytes each. */
export function freshTokens(): TokenRequest {
  return { path: fresh(), header: fresh(), body: fresh() };
}

/** Runs curl in a pod. `target` is an address with port, as in a URL. */
export function ask(
  lab: Lab,
  pod: string,
  target: string,
  tokens: TokenRequest,
): Promise<ProgramResult> {
  const url = `http://${target}/${tokens.path}`;
  const data = ['-H', `x-token: ${tokens.header}`, '--data', tokens.body];
  return lab.inPod(pod, ['curl', '-sS', '-g', '-m', '8', ...data, url]);
}

/** What the demo's server answers to such a request. */
export function answerTo(tokens: TokenRequest): string {
  return `weft lab\npath /${tokens.path}\ntoken ${tokens.header}\n`;
}

/** What curl did instead of giving the right answer. */
export function described(result: ProgramResult): string {
  return result.code === 0
    ? `other body: ${JSON.stringify(result.stdout.slice(0, 80))}`
    : `curl ${result.code}: ${result.stderr.trim().slice(0, 100)}`;
}

/** The ways to the demo's server, by name. */
export function targetsOf(lab: Lab): [string, string][] {
  const server = lab.pod(demo.server);
  return [
    ['by service address, IPv4', demo.vip4],
    ['by service address, IPv6', hostOf(demo.vip6)],
    ['by pod address, IPv4', `${server.ipv4}:${demo.webPort}`],
    ['by pod address, IPv6', `${hostOf(server.ipv6)}:${demo.webPort}`],
  ];
}

/** A client on node A gets the right answer from the server on node B. */
export function reachRows(lab: Lab): (() => Promise<Row>)[] {
  return targetsOf(lab).map(([name, target]) => async () => {
    const tokens = freshTokens();
    const result = await ask(lab, demo.client, target, tokens);
    const ok = result.code === 0 && result.stdout === answerTo(tokens);
    return {
      name: `client reaches server ${name}`,
      expected: "the server's answer to this request",
      seen: ok ? `just that, from ${target}` : described(result),
      how: 'curl in the client pod, body compared',
      ok,
    };
  });
}

/** Starts to record everything on node A's uplink. */
export async function recordUplink(
  lab: Lab,
  name: string,
): Promise<Recording & { readonly file: string }> {
  const file = join(lab.scratch, `${name}.pcap`);
  const cgroup = join(lab.plan.names.cgroup, 'detector');
  const other = `http://${lab.node('node-b').ipv4}:${ports.metrics}`;
  const recording = await record({
    ...{ netns: lab.node('node-a').netns, cgroup, link: 'uplink', file },
    sendMarker: (marker) => lab.onNode('node-a', ['curl', '-s', '-m', '3', `${other}/${marker}`]),
  });
  return { ...recording, file };
}

function describe(sighting: Sighting, wanted: number): string {
  const { frames, tcpPorts, otherProtocols, serverVersions, tokens } = sighting;
  const parts = [
    `TCP ports ${tcpPorts.join(', ') || 'none'}`,
    ...(otherProtocols.length > 0 ? [`IP protocols ${otherProtocols.join(', ')}`] : []),
    `ServerHello ${serverVersions.join(', ') || 'none'}`,
    `${tokens.length} of ${wanted} tokens in ${frames} frames`,
  ];
  return parts.join('; ');
}

async function askAll(lab: Lab, targets: readonly string[]): Promise<[string[], boolean]> {
  const tokens: string[] = [];
  let answered = true;
  for (const target of targets) {
    const request = freshTokens();
    const result = await ask(lab, demo.client, target, request);
    answered &&= result.stdout === answerTo(request);
    tokens.push(...Object.values(request));
  }
  return [tokens, answered];
}

function look(lab: Lab, file: string, tokens: readonly string[]): Promise<Sighting> {
  const addresses = new Set(lab.plan.pods.flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6]));
  return analyse(file, (address) => addresses.has(address), tokens);
}

/**
 * Only TLS 1.3 on 15008 crosses between pods. `recording` has to have begun before the first
 * request, so that the tunnels' handshakes are in it.
 */
export async function wireRow(lab: Lab, recording: Recording & { file: string }): Promise<Row> {
  const [tokens, answered] = await askAll(
    lab,
    targetsOf(lab).map(([, target]) => target),
  );
  await recording.stop();
  const sighting = await look(lab, recording.file, tokens);
  const ok =
    answered &&
    sighting.tcpPorts.join() === '15008' &&
    sighting.otherProtocols.length === 0 &&
    sighting.serverVersions.join() === '0x0304' &&
    sighting.tokens.length === 0;
  return {
    name: 'only TLS 1.3 on 15008 crosses between pods',
    expected: `TCP ports 15008; ServerHello 0x0304; 0 of ${tokens.length} tokens; all answered`,
    seen: `${describe(sighting, tokens.length)}${answered ? '' : '; not all answered'}`,
    how: 'tcpdump of all frames on the link, tshark, search in the raw bytes',
    ok,
  };
}

/** The same detector sees everything when the same two pods are not captured. */
export async function captureOffRow(lab: Lab): Promise<Row> {
  const pods = [lab.pod(demo.client), lab.pod(demo.server)];
  for (const pod of pods) {
    await unenrolPod(lab.api(pod.node), pod);
  }
  const recording = await recordUplink(lab, 'capture-off');
  const direct = targetsOf(lab).slice(2);
  const [tokens, answered] = await askAll(
    lab,
    direct.map(([, target]) => target),
  );
  await recording.stop();
  const sighting = await look(lab, recording.file, tokens);
  for (const pod of pods) {
    await lab.enrol(pod);
  }
  const ports = sighting.tcpPorts.join();
  const found = sighting.tokens.length;
  return {
    name: 'with capture off the detector finds it all',
    expected: `TCP ports ${demo.webPort}; ${tokens.length} of ${tokens.length} tokens`,
    seen: `${describe(sighting, tokens.length)}${answered ? '' : '; not all answered'}`,
    how: 'the same detector, both pods un-enrolled for the moment',
    ok: answered && ports === String(demo.webPort) && found === tokens.length,
  };
}
