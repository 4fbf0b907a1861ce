// SPDX-License-Identifier: Apache-2.0
// Demo rows about names: what a pod of the mesh can say instead of an address.
import { answerTo, ask, demo, described, freshTokens } from './demo-traffic.ts';
import type { Lab } from './lab.ts';
import type { Row } from './report.ts';
import { outside } from './resolver.ts';

/** The names of the demo's server, by what they name; as an application writes them. */
export const serverNames: readonly (readonly [what: string, targets: readonly string[]])[] = [
  ['service name', ['web', 'web.demo', 'web.demo.svc.cluster.local']],
  ['headless service name', [`web-pods:${demo.webPort}`, `web-pods.demo:${demo.webPort}`]],
  ['its own name', [`server.web-pods.demo:${demo.webPort}`]],
];

async function reachRow(lab: Lab, what: string, targets: readonly string[]): Promise<Row> {
  const seen: string[] = [];
  for (const target of targets) {
    const tokens = freshTokens();
    const result = await ask(lab, demo.client, target, tokens);
    const ok = result.code === 0 && result.stdout === answerTo(tokens);
    seen.push(ok ? `just that, from ${target}` : `${target}: ${described(result)}`);
  }
  return {
    name: `client reaches server by ${what}`,
    expected: "the server's answer to each request",
    seen: seen.join('; '),
    how: 'curl in the client pod, body compared',
    ok: seen.every((each) => each.startsWith('just that')),
  };
}

// getent asks as every application does: by the C library and the pod's resolv.conf.
async function addressOf(lab: Lab, pod: string, name: string): Promise<string> {
  const { code, stdout } = await lab.inPod(pod, ['getent', 'ahostsv4', name]);
  return code === 0 ? (stdout.split(/\s/)[0] ?? '') : 'none';
}

async function otherNamesRow(lab: Lab): Promise<Row> {
  const seen = [
    `${outside.name} is ${await addressOf(lab, demo.client, outside.name)}`,
    `nothing.${outside.name} is ${await addressOf(lab, demo.client, `nothing.${outside.name}`)}`,
    `web.demo is ${await addressOf(lab, demo.client, 'web.demo')}`,
    `outside of the mesh ${await addressOf(lab, demo.outsider, 'web.demo')}`,
  ].join('; ');
  const expected = [
    `${outside.name} is ${outside.address}`,
    `nothing.${outside.name} is none`,
    `web.demo is ${demo.vip4}`,
    'outside of the mesh none',
  ].join('; ');
  return {
    name: "other names come from the pod's own resolver",
    expected,
    seen,
    how: 'getent in the client pod and in one outside of the mesh; dnsmasq is the resolver',
    ok: seen === expected,
  };
}

/** Rows about names, in order. */
export function nameRows(lab: Lab): (() => Promise<Row>)[] {
  return [
    ...serverNames.map(
      ([what, targets]) =>
        () =>
          reachRow(lab, what, targets),
    ),
    () => otherNamesRow(lab),
  ];
}
