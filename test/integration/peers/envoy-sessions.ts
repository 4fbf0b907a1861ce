// SPDX-License-Identifier: Apache-2.0
// How TLS sessions with Envoy end and begin again: each side resumes by a ticket of the other, and
// Envoy takes our close_notify for what it is. Skipped where Envoy cannot be had; needs root.
import { dirname } from 'node:path';
import t, { type Test } from 'tap';
import {
  counted,
  envoyOrReason,
  hboneClient,
  hboneServer,
  startEnvoy,
  withCounters,
} from '../../support/envoy-peer.ts';
import { type BarePod, MeshPair, spiffeId } from '../../support/mesh-pair.ts';
import type { AppStream } from '../../support/pod-app.ts';

const server = '10.9.0.2';
const way = { listen: 9_000, authority: `${server}:8080` };
const counters = 9_901;

t.setTimeout(25_000);
const envoy = await envoyOrReason();
const skip = 'reason' in envoy ? envoy.reason : false;

/** What Envoy's log says; each line is waited for once. */
class Log {
  readonly #lines: string[] = [];
  #heard: () => void = () => {};

  readonly take = (line: string): void => {
    this.#lines.push(line);
    this.#heard();
  };

  async next(wanted: RegExp): Promise<string> {
    for (;;) {
      const at = this.#lines.findIndex((line) => wanted.test(line));
      if (at >= 0) {
        return this.#lines.splice(0, at + 1).at(-1) ?? '';
      }
      await new Promise<void>((resolve) => {
        this.#heard = resolve;
      });
    }
  }
}

async function run(t: Test, pair: MeshPair, pod: BarePod, config: string): Promise<Log> {
  const log = new Log();
  const port = pod === pair.clientPod ? way.listen : 15_008;
  await startEnvoy(t, {
    program: 'program' in envoy ? envoy.program : '',
    pod,
    config: withCounters(config, counters),
    folder: dirname(pair.ca.rootFile),
    ports: [port, counters],
    heard: log.take,
  });
  return log;
}

async function files(pair: MeshPair, own: string, peer: string) {
  const { cert, key } = await pair.ca.issue(spiffeId(own));
  const proof = { chainFile: cert, keyFile: key, rootFile: pair.ca.rootFile };
  return { ...proof, peer: { exact: spiffeId(peer) } };
}

async function exchange(t: Test, [near, far]: [AppStream, AppStream]): Promise<void> {
  await near.write('question');
  t.equal(await far.read(8), 'question');
  await near.end();
  await far.readAll();
  await far.write('answer');
  await far.end();
  t.equal((await near.readAll()).text, 'answer');
}

// Envoy's TLS socket is being closed, by whichever end.
const socketClosed = /SSL shutdown: rc=/;

t.test('Envoy as a client resumes by a ticket of ours', { skip }, async (t) => {
  const pair = await MeshPair.start(t, { client: 'bare' });
  const { clientPod, server: mesh } = pair;
  const proof = await files(pair, 'client', 'server');
  const to = { host: server, port: 15_008 };
  const log = await run(t, pair, clientPod, hboneClient(proof, to, [way]));
  await mesh.app.listen(8080);
  const connect = () =>
    Promise.all([clientPod.app.connect('127.0.0.1', way.listen), mesh.app.accept(8080)]);
  const reused = () => counted(clientPod, counters, 'ssl.session_reused');
  await exchange(t, await connect());
  t.equal(await reused(), 0);
  // A new certificate of the same identity: tunnels drain, and tickets stay good.
  mesh.engine.setIdentity(await pair.material('server'));
  await log.next(socketClosed);
  await exchange(t, await connect());
  t.equal(await reused(), 1);
  const { tunnels_accepted: accepted, tunnels_failed_tls: failed } = mesh.engine.counters();
  t.strictSame([accepted, failed], [2n, 0n]);
});

t.test('Envoy as a server has its ticket taken, and our close_notify', { skip }, async (t) => {
  const engine = { tunnelIdleMs: 0 };
  const pair = await MeshPair.start(t, { server: 'bare', engine });
  const { serverPod, client: mesh } = pair;
  const proof = await files(pair, 'server', 'client');
  const refusal = { authority: `${server}:81`, status: 401 };
  const log = await run(t, pair, serverPod, hboneServer(proof, refusal));
  await serverPod.app.listen(8080);
  const reused = () => counted(serverPod, counters, 'ssl.session_reused');
  for (const expected of [0, 1]) {
    await exchange(t, await pair.connect(8080));
    t.match(await log.next(/error occurred while read: (?!WANT)/), /ZERO_RETURN/);
    await log.next(socketClosed);
    t.equal(await reused(), expected);
  }
  const { tunnels_opened: opened, tunnels_failed_tls: failed } = mesh.engine.counters();
  t.strictSame([opened, failed], [2n, 0n]);
});
