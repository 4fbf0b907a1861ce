// SPDX-License-Identifier: Apache-2.0
// An HBONE client that shares no code with Weft (Python's h2 and ssl) against the inbound side of
// the proxy. Needs root.
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  type ConnectionEvent,
  Direction,
  Kind,
  PolicyAction,
  PolicyScope,
  Reason,
} from '../../../native/index.ts';
import { runProgram } from '../../../src/lib/program.ts';
import {
  type BarePod,
  MeshPair,
  type MeshPod,
  type PairOptions,
  spiffeId,
  workloadOf,
} from '../../support/mesh-pair.ts';
import { type ClientEnd, HboneClient, identity } from '../../support/peers.ts';

const bulkBytes = 64 << 20;
const pods = { ipv4: '10.9.0.2', ipv6: 'fd09::2' };
const app = `${pods.ipv4}:8080`;

interface Peer {
  readonly pair: MeshPair;
  readonly pod: BarePod;
  readonly server: MeshPod;
  /** Options of a client that proves it is demo/client. */
  readonly credentials: readonly string[];
  open(authority: string, ...more: string[]): HboneClient;
  /** Runs a client that sends nothing. */
  ask(authority: string, ...more: string[]): Promise<ClientEnd>;
}

async function startPeer(t: Test, options: PairOptions = {}): Promise<Peer> {
  const pair = await MeshPair.start(t, { client: 'bare', ...options });
  const { clientPod: pod, server } = pair;
  const leaf = await pair.ca.issue(spiffeId('client'));
  const credentials = identity(leaf, pair.ca.rootFile);
  const open = (authority: string, ...more: string[]): HboneClient => {
    const options = ['--connect', `${pods.ipv4}:15008`, '--authority', authority];
    return new HboneClient([...options, ...credentials, ...more], pod.inside);
  };
  const ask = (authority: string, ...more: string[]): Promise<ClientEnd> => {
    const client = open(authority, ...more);
    client.input.end();
    return client.end();
  };
  await server.app.listen(8080);
  return { pair, pod, server, credentials, open, ask };
}

const closed = (event: ConnectionEvent): boolean => event.kind === Kind.CLOSED;
const refused = (event: ConnectionEvent): boolean => event.kind === Kind.REFUSED;

t.test('a tunnel of another implementation carries bytes', async (t) => {
  const { pod, server, open, credentials } = await startPeer(t);

  t.test('to the application and back, and both ends are named', async (t) => {
    const client = open(app);
    const stream = await server.app.accept(8080);
    client.input.end('question');
    t.equal((await stream.readAll()).text, 'question');
    await stream.write('answer');
    await stream.end();
    const { report, output, code } = await client.end();
    t.equal(output.toString(), 'answer');
    t.match(report, {
      status: 200,
      headers: {
        baggage: [
          ...['k8s.cluster.name=Kubernetes', 'k8s.namespace.name=demo'],
          ...['k8s.deployment.name=server', 'service.name=server', 'service.version=v1'],
        ].join(','),
      },
      peer_uris: [spiffeId('server')],
      tls_version: 'TLSv1.3',
      alpn: 'h2',
      sent: 8,
      received: 6,
      error: null,
    });
    t.equal(code, 0);
    t.match(await server.events.take(closed), {
      direction: Direction.INBOUND,
      destinationAddress: app,
      sourceIdentity: spiffeId('client'),
      destinationIdentity: spiffeId('server'),
      sourceWorkload: 'client',
      destinationWorkload: 'server',
      bytesSent: 8n,
      bytesReceived: 6n,
      mutualTls: true,
      reason: Reason.NONE,
    });
  });

  t.test('over IPv6, and when it offers no ALPN', async (t) => {
    const options = ['--connect', `[${pods.ipv6}]:15008`, '--authority', `[${pods.ipv6}]:8080`];
    const client = new HboneClient([...options, '--alpn', 'none', ...credentials], pod.inside);
    const stream = await server.app.accept(8080);
    t.equal(stream.peer[0], 'fd09::1');
    client.input.end('six');
    t.equal((await stream.readAll()).text, 'six');
    await stream.end();
    t.match((await client.end()).report, { status: 200, alpn: null, error: null });
  });

  t.test('after the application has ended its side', async (t) => {
    const client = open(app);
    const stream = await server.app.accept(8080);
    await stream.write('first');
    await stream.end();
    t.equal(String((await once(client.output, 'data'))[0]), 'first');
    client.input.end('still here');
    t.equal((await stream.readAll()).text, 'still here');
    t.match((await client.end()).report, { sent: 10, received: 5, error: null });
  });

  t.test('64 MB each way without a byte changed', async (t) => {
    const client = open(app);
    const stream = await server.app.accept(8080);
    const input = randomBytes(bulkBytes);
    client.input.end(input);
    const up = await stream.readAll();
    t.equal(up.received, bulkBytes);
    t.equal(up.receivedSha256, createHash('sha256').update(input).digest('hex'));
    const ended = client.end();
    const down = await stream.writeRandom(bulkBytes);
    await stream.end();
    const { report, output } = await ended;
    t.match(report, { sent: bulkBytes, received: bulkBytes, error: null });
    t.equal(createHash('sha256').update(output).digest('hex'), down.sentSha256);
  });

  t.test('as many streams of one connection', async (t) => {
    await server.app.echo(9000);
    const before = server.engine.counters();
    const program = join(import.meta.dirname, '..', '..', 'peers', 'hbone_streams.py');
    const size = ['--streams', '50', '--bytes', '200000'];
    const to = ['--connect', `${pods.ipv4}:15008`, '--authority', `${pods.ipv4}:9000`];
    const command = ['/usr/bin/python3', program, ...to, ...size, ...credentials];
    const [first, ...rest] = [...pod.inside, ...command];
    const { stdout, stderr } = await runProgram(first ?? '', rest, { timeoutMs: 20_000 });
    t.equal(stderr, '');
    const { streams, error } = JSON.parse(stdout);
    t.equal(error, null);
    t.equal(streams.length, 50);
    t.ok(streams.every((each: object) => t.match(each, { status: 200, same: true })));
    const after = server.engine.counters();
    t.equal(after['tunnels_accepted'], (before['tunnels_accepted'] ?? 0n) + 1n);
    t.equal(after['streams_opened'], (before['streams_opened'] ?? 0n) + 50n);
  });
});

t.test('a reset crosses the tunnel', async (t) => {
  const { server, open } = await startPeer(t);

  t.test('RST_STREAM of the client is RST for the application', async (t) => {
    const client = open(app, '--rst', '8');
    const stream = await server.app.accept(8080);
    client.input.write('x');
    t.equal(await stream.read(1), 'x');
    const failure = stream.failure();
    client.input.end();
    t.equal(await failure, 'ECONNRESET');
    await client.end();
    t.match(await server.events.take(closed), {
      reason: Reason.RESET,
      detail: 'the peer reset the stream, code 8',
    });
  });

  t.test('RST of the application is RST_STREAM with CONNECT_ERROR', async (t) => {
    const client = open(app);
    const stream = await server.app.accept(8080);
    client.input.write('x');
    await stream.read(1);
    await stream.reset();
    t.equal((await client.end()).report.error, 'reset 10');
    t.match(await server.events.take(closed), { reason: Reason.RESET });
    t.equal(server.engine.counters()['streams_reset'], 2n);
  });

  t.test('a client that dies in the middle is RST for the application', async (t) => {
    const client = open(app, '--timeout', '0.5');
    const stream = await server.app.accept(8080);
    client.input.write('half a message');
    t.equal(await stream.read(14), 'half a message');
    t.equal(await stream.failure(), 'ECONNRESET', 'not a clean end, which would say it was whole');
    await client.end();
  });
});

t.test('the certificate alone says who calls', async (t) => {
  const { pair, server, ask, open } = await startPeer(t);
  const other = identity(await pair.ca.issue(spiffeId('other')), pair.ca.rootFile);
  const claims = [
    'baggage=k8s.namespace.name=demo,k8s.deployment.name=client',
    'forwarded=for=10.9.0.1',
  ]
    .concat(`x-forwarded-client-cert=By=a;URI=${spiffeId('client')}`)
    .flatMap((header) => ['--header', header]);

  t.test('whatever the headers claim, it is reported', async (t) => {
    const client = open(app, ...other, ...claims);
    const stream = await server.app.accept(8080);
    client.input.end();
    await stream.end();
    t.equal((await client.end()).report.status, 200);
    t.match(await server.events.take(closed), {
      sourceIdentity: spiffeId('other'),
      sourceWorkload: '',
    });
  });

  t.test('and is what policy goes by', async (t) => {
    const exact = (account: string) => ({
      match: { case: 'exact' as const, value: `cluster.local/ns/demo/sa/${account}` },
    });
    const policy = {
      key: 'demo/only-client',
      namespace: 'demo',
      scope: PolicyScope.SCOPE_NAMESPACE,
      action: PolicyAction.ACTION_ALLOW,
      rules: [{ clauses: [{ matches: [{ principals: [exact('client')] }] }] }],
    };
    server.engine.apply({ policies: [policy] });
    const { report } = await ask(app, ...other, ...claims);
    t.match(report, { status: 401, error: null });
    t.strictSame(report.headers, {}, 'who is refused is not told who refused');
    t.match(await server.events.take(refused), {
      reason: Reason.DENIED,
      sourceIdentity: spiffeId('other'),
      destinationAddress: app,
    });
    t.equal(server.engine.counters()['streams_denied'], 1n);

    const client = open(app);
    await (await server.app.accept(8080)).end();
    client.input.end();
    t.equal((await client.end()).report.status, 200, 'the identity that policy names');

    const deny = { ...policy, key: 'demo/no-8080', action: PolicyAction.ACTION_DENY };
    const rules = [{ clauses: [{ matches: [{ destinationPorts: [8080] }] }] }];
    server.engine.apply({ policies: [{ ...deny, rules }] });
    t.equal((await ask(app)).report.status, 401);
    t.match(await server.events.take(refused), { reason: Reason.DENIED, policy: 'demo/no-8080' });
  });
});

t.test('nobody is let in before the policies have come', async (t) => {
  const { server, ask } = await startPeer(t, { policiesReceived: false });
  t.equal((await ask(app)).report.status, 401);
  t.match(await server.events.take(refused), { reason: Reason.DENIED });
});

t.test('a request for a service of the pod by its name', async (t) => {
  const { pair, server, open, ask } = await startPeer(t);
  const service = (name: string, targetPort: number) => ({
    key: `demo/${name}.demo`,
    name,
    namespace: 'demo',
    hostname: `${name}.demo`,
    ports: [{ servicePort: 80, targetPort }],
  });
  const [web, other] = [service('web', 8080), service('other', 8080)];
  const port = { $typeName: 'weft.tables.PortMap', servicePort: 81, targetPort: 8081 } as const;
  const bound = { $typeName: 'weft.tables.ServiceBinding', service: web.key } as const;
  const deny = {
    key: 'demo/no-8081',
    namespace: 'demo',
    scope: PolicyScope.SCOPE_NAMESPACE,
    action: PolicyAction.ACTION_DENY,
    rules: [{ clauses: [{ matches: [{ destinationPorts: [8081] }] }] }],
  };
  pair.apply({
    services: [web, other],
    workloads: [{ ...workloadOf('server'), services: [{ ...bound, ports: [port] }] }],
    policies: [deny],
  });

  t.test('reaches its target port at the pod', async (t) => {
    for (const host of ['web.demo', 'WEB.Demo']) {
      const client = open(`${host}:80`);
      const stream = await server.app.accept(8080);
      client.input.end('question');
      t.equal((await stream.readAll()).text, 'question');
      await stream.end();
      t.match((await client.end()).report, { status: 200, received: 0, error: null });
      t.match(await server.events.take(closed), {
        destinationAddress: app,
        destinationService: web.key,
        sourceIdentity: spiffeId('client'),
      });
    }
  });

  t.test('is judged by that port', async (t) => {
    t.match((await ask('web.demo:81')).report, { status: 401, error: null });
    t.match(await server.events.take(refused), {
      reason: Reason.DENIED,
      destinationAddress: `${pods.ipv4}:8081`,
      policy: deny.key,
    });
  });

  t.test('and no other service or port is', async (t) => {
    for (const authority of ['other.demo:80', 'web.demo:8080', 'web.elsewhere:80']) {
      t.match((await ask(authority)).report, { status: 503, error: null }, authority);
      t.match(await server.events.take(refused), { reason: Reason.NO_ROUTE });
    }
  });
});

t.test('a request that names no application of the pod is refused', async (t) => {
  const { server, ask } = await startPeer(t);
  const expect = async (status: number, reason: Reason, ...request: [string, ...string[]]) => {
    const { report } = await ask(...request);
    t.match(report, { status, error: null }, request.join(' '));
    t.match(await server.events.take(refused), { reason, sourceIdentity: spiffeId('client') });
  };
  await expect(400, Reason.BAD_REQUEST, '10.9.0.3:8080');
  await expect(400, Reason.BAD_REQUEST, '127.0.0.1:8080');
  await expect(400, Reason.BAD_REQUEST, '[::1]:8080');
  await expect(400, Reason.BAD_REQUEST, 'server..demo:8080');
  await expect(400, Reason.BAD_REQUEST, '10.9.0.2');
  await expect(400, Reason.BAD_REQUEST, '10.9.0.2:0');
  await expect(400, Reason.BAD_REQUEST, '10.9.0.2:65536');
  await expect(400, Reason.BAD_REQUEST, app, '--method', 'GET');
  await expect(503, Reason.NO_ROUTE, 'server.demo:8080');
  await expect(503, Reason.CONNECT, '10.9.0.2:81');
  for (const port of [15001, 15006, 15008]) {
    await expect(503, Reason.NO_ROUTE, `10.9.0.2:${port}`);
  }
  t.equal(server.engine.counters()['streams_refused'], 13n);
  t.equal(server.engine.counters()['streams_opened'], 0n);
});
