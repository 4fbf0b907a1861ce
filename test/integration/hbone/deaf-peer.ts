// SPDX-License-Identifier: Apache-2.0
// A peer that has a certificate, asks without end and never reads. Needs root.
import { join } from 'node:path';
import t from 'tap';
import { runProgram } from '../../../src/lib/program.ts';
import { MeshPair, spiffeId } from '../../support/mesh-pair.ts';
import { HboneClient, identity } from '../../support/peers.ts';

const program = join(import.meta.dirname, '../../peers/deaf_client.py');
t.setTimeout(60_000);

t.test('ends a tunnel whose peer does not read, within a bound of memory', async (t) => {
  const pair = await MeshPair.start(t, { client: 'bare' });
  const { clientPod, server, ca } = pair;
  await server.app.echo(8080);
  const leaf = await ca.issue(spiffeId('client'));
  const files = [ca.rootFile, leaf.cert, leaf.key];
  const [file = '', ...rest] = [...clientPod.inside, '/usr/bin/python3', program];
  const args = [...rest, server.ipv4, '15008', ...files, '10.9.0.99:80'];
  const { code, stdout, stderr } = await runProgram(file, args, { timeoutMs: 50_000 });
  t.equal(code, 0, stderr);
  const seen = JSON.parse(stdout) as { requests: number; ended: string };
  t.comment(`${seen.requests} requests, ended by ${seen.ended}`);
  t.match(seen.ended, /Reset|BrokenPipe|SSL/, 'the server ended it');
  t.ok((server.engine.counters()['limit_reached'] ?? 0n) > 0n, 'the limit is counted');

  const options = ['--connect', `${server.ipv4}:15008`, '--authority', `${server.ipv4}:8080`];
  const good = new HboneClient([...options, ...identity(leaf, ca.rootFile)], clientPod.inside);
  good.input.end('still here');
  const { report, output } = await good.end();
  t.equal(report.status, 200, JSON.stringify(report));
  t.equal(output.toString(), 'still here', 'others are served as before');
});
