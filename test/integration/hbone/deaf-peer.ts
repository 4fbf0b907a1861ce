// SPDX-License-Identifier: Apache-2.0
// A peer that has a certificate and asks without end: it never reads, or it takes each request back
// at once. Others are served as before. Needs root.
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { runProgram } from '../../../src/lib/program.ts';
import { MeshPair, spiffeId } from '../../support/mesh-pair.ts';
import { HboneClient, identity } from '../../support/peers.ts';

// RFC 9113 section 7.
const enhanceYourCalm = 11;

t.setTimeout(60_000);

/** A pair, and what the peer in `program` reports which asks for an address that is refused. */
async function flooded(t: Test, program: string): Promise<{ pair: MeshPair; report: unknown }> {
  const pair = await MeshPair.start(t, { client: 'bare' });
  const { clientPod, server, ca } = pair;
  const leaf = await ca.issue(spiffeId('client'));
  const files = [ca.rootFile, leaf.cert, leaf.key];
  const peer = join(import.meta.dirname, '../../peers', program);
  const [file = '', ...rest] = [...clientPod.inside, '/usr/bin/python3', peer];
  const args = [...rest, server.ipv4, '15008', ...files, '10.9.0.99:80'];
  const { code, stdout, stderr } = await runProgram(file, args, { timeoutMs: 50_000 });
  t.equal(code, 0, stderr);
  t.comment(stdout);
  return { pair, report: JSON.parse(stdout) };
}

async function othersAreServed(t: Test, { clientPod, server, ca }: MeshPair): Promise<void> {
  await server.app.echo(8080);
  const leaf = await ca.issue(spiffeId('client'));
  const options = ['--connect', `${server.ipv4}:15008`, '--authority', `${server.ipv4}:8080`];
  const good = new HboneClient([...options, ...identity(leaf, ca.rootFile)], clientPod.inside);
  good.input.end('still here');
  const { report, output } = await good.end();
  t.equal(report.status, 200, JSON.stringify(report));
  t.equal(output.toString(), 'still here', 'others are served as before');
}

t.test('ends a tunnel whose peer reads nothing and asks on', async (t) => {
  const { pair, report } = await flooded(t, 'deaf_client.py');
  t.match(report, { ended: /Reset|BrokenPipe|SSL/ }, 'the server ended it');
  await othersAreServed(t, pair);
});

t.test('ends a tunnel whose peer takes back what is refused, beyond a budget', async (t) => {
  const { pair, report } = await flooded(t, 'resetting_client.py');
  t.match(report, { ended: true, goaway: enhanceYourCalm });
  const { streams_refused: refused } = pair.server.engine.counters();
  t.equal(refused, 2001n, 'the budget of H2Limits, and the one that is too many');
  await othersAreServed(t, pair);
});
