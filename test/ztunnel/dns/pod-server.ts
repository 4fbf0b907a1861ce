// SPDX-License-Identifier: Apache-2.0
// The server of one pod on the loopback of this machine; its resolver is a socket of the test.
import { execFile, spawn } from 'node:child_process';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { decode, encode } from 'dns-packet';
import t, { type Test } from 'tap';
import { bindAlone, type PodSocketKind, podSocket } from '../../../native/pod-socket.ts';
import { type NamedService, NameTable } from '../../../ztunnel/dns/names.ts';
import { connectionsMax, PodServer, queriesPerSecondMax } from '../../../ztunnel/dns/pod-server.ts';
import { pipelineMax } from '../../../ztunnel/dns/tcp-queries.ts';
import { queriesPerTurn, Turns, waitingMax } from '../../../ztunnel/dns/turns.ts';
import {
  allOutstandingMax,
  type Budget,
  framed,
  outstandingMax,
  ownOutstanding,
  strayAnswersMax,
  Upstream,
} from '../../../ztunnel/dns/upstream.ts';

const netns = openSync('/proc/self/ns/net', 'r');
// Below the ports that the kernel gives out by itself.
const ports = { next: 10_000 + (process.pid % 20_000) };

const web: NamedService = {
  ...{ kind: 'service', key: 'demo/web', hostname: 'web.demo.svc.cluster.local' },
  ...{ namespace: 'demo', addresses: ['10.96.0.1'], isPrivate: false },
  ...{ canonical: false, allEndpoints: false },
};

function queryOf(name: string, id = 1): Buffer {
  return encode({ type: 'query', id, flags: 0x0100, questions: [{ type: 'A', name }] });
}

// What a resolver answers: its question with an address, or what the test makes of it.
function answerOf(bytes: Buffer, id?: number): Buffer {
  const query = decode(bytes);
  const name = query.questions?.[0]?.name ?? '';
  return encode({
    ...{ type: 'response', id: id ?? query.id ?? 0, questions: query.questions ?? [] },
    answers: [{ type: 'A', name, data: '192.0.2.1', ttl: 1 }],
  });
}

interface Fixture {
  readonly server: PodServer;
  readonly port: number;
  readonly resolverPort: number;
  readonly budget: Budget;
  readonly heard: Buffer[];
  /** Stands still unless it is moved. */
  readonly clock: { now: number };
  /** Sends one datagram and resolves with the answer. */
  ask(bytes: Buffer): Promise<Buffer>;
  client(): UdpSocket;
}

const thief = `
import errno, itertools, json, socket, sys
seen = []
for address, kind, reuse, share in itertools.product(
    ("127.0.0.1", "0.0.0.0"), (socket.SOCK_DGRAM, socket.SOCK_STREAM), (0, 1), (0, 1)
):
    each = socket.socket(socket.AF_INET, kind)
    each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
    each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, share)
    try:
        each.bind((address, int(sys.argv[1])))
        seen.append("bound")
    except OSError as error:
        seen.append(errno.errorcode[error.errno])
print(json.dumps(seen))
`;

const spinner = new URL('../../peers/port_spinner.py', import.meta.url).pathname;

const open = (kind: PodSocketKind, address: string, port: number): number =>
  podSocket(kind, { netns, address, port, mark: 0 });

type Bind = typeof bindAlone;

// Starts beside a process that asks for the port, too: so many shall succeed before so many do not.
const startsWanted = 50;
const lostMax = 5_000;

// A server that is not open yet and has no resolvers.
function bareServer(port: number, bind: Bind = bindAlone): PodServer {
  const names = new NameTable('cluster.local');
  const upstream = new Upstream([], open, { outstanding: 0 });
  const own = { names, namespace: 'demo', upstream, turns: new Turns() };
  return new PodServer({ ...own, open, bind, port, onError: () => undefined });
}

type Respond = (bytes: Buffer, send: (answer: Buffer) => void) => void;

async function setUp(t: Test, respond: Respond = (bytes, send) => send(answerOf(bytes))) {
  const resolver = createSocket('udp4');
  const heard: Buffer[] = [];
  resolver.on('message', (bytes, { port, address }) => {
    heard.push(bytes);
    respond(bytes, (answer) => resolver.send(answer, port, address));
  });
  // A port of UDP that the kernel gives out may be somebody's of TCP, where tests listen, too.
  resolver.bind(ports.next++, '127.0.0.1');
  await once(resolver, 'listening');
  t.teardown(() => resolver.close());
  const names = new NameTable('cluster.local');
  names.apply([web]);
  const budget: Budget = { outstanding: 0 };
  const resolverPort = resolver.address().port;
  const upstream = new Upstream(['127.0.0.1'], open, budget, resolverPort);
  const port = ports.next++;
  const clock = { now: 0 };
  const now = (): number => clock.now;
  const turns = new Turns();
  const own = { names, namespace: 'demo', upstream, turns };
  const parts = { ...own, open, bind: bindAlone, port, now };
  const server = new PodServer({ ...parts, onError: () => undefined });
  await server.open();
  t.teardown(() => server.close());
  const clients: UdpSocket[] = [];
  t.teardown(() => {
    for (const client of clients) {
      client.close();
    }
  });
  const client = (): UdpSocket => {
    const socket = createSocket('udp4');
    clients.push(socket);
    return socket;
  };
  const ask = async (bytes: Buffer): Promise<Buffer> => {
    const socket = client();
    socket.send(bytes, port, '127.0.0.1');
    const [answer] = await once(socket, 'message');
    return answer as Buffer;
  };
  const fixture: Fixture = { server, port, resolverPort, budget, heard, clock, ask, client };
  return fixture;
}

const rcode = (bytes: Buffer): number => (bytes[3] ?? 0) & 0xf;

t.test('mesh names are answered, others relayed under the id of the client', async (t) => {
  const { ask, heard, server } = await setUp(t);
  t.match(decode(await ask(queryOf('web', 7))), { id: 7, answers: [{ data: '10.96.0.1' }] });
  t.equal(heard.length, 0);
  t.match(decode(await ask(queryOf('outside.example', 8))), {
    ...{ id: 8, answers: [{ data: '192.0.2.1' }] },
  });
  t.equal(heard.length, 1);
  t.match(server.counts, { requests: 2, upstreamRequests: 1, upstreamFailures: 0 });
});

t.test('each question goes out under an id of its own', async (t) => {
  const ids = new Set<number>();
  const { ask } = await setUp(t, (bytes, send) => {
    ids.add(bytes.readUInt16BE(0));
    send(answerOf(bytes));
  });
  for (let i = 0; i < 20; i += 1) {
    await ask(queryOf('outside.example', 1));
  }
  t.ok(ids.size > 15, `${ids.size} ids of 20`);
});

t.test('answers to other questions are passed over, to a limit', async (t) => {
  const { ask } = await setUp(t, (bytes, send) => {
    send(answerOf(bytes, bytes.readUInt16BE(0) ^ 1));
    send(answerOf(queryOf('evil.example', bytes.readUInt16BE(0))));
    send(Buffer.from('garbage'));
    send(answerOf(bytes));
  });
  t.match(decode(await ask(queryOf('outside.example'))).questions, [{ name: 'outside.example' }]);
  const flood = await setUp(t, (bytes, send) => {
    for (let i = 0; i < strayAnswersMax; i += 1) {
      send(answerOf(bytes, bytes.readUInt16BE(0) ^ 1));
    }
  });
  t.equal(rcode(await flood.ask(queryOf('outside.example'))), 2, 'SERVFAIL');
  t.equal(flood.server.counts.upstreamFailures, 1);
});

t.test('questions over what may wait fail at once; mesh names do not', async (t) => {
  const { ask, client, budget, port, heard, server } = await setUp(t, () => undefined);
  const silent = client();
  for (let i = 0; i < outstandingMax; i += 1) {
    silent.send(queryOf('outside.example', i), port, '127.0.0.1');
  }
  while (heard.length < outstandingMax) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  t.equal(budget.outstanding, outstandingMax);
  t.equal(rcode(await ask(queryOf('outside.example'))), 2, 'one more');
  t.match(decode(await ask(queryOf('web'))).answers, [{ data: '10.96.0.1' }]);
  server.close();
  while (budget.outstanding > 0) {
    await new Promise((resolve) => setImmediate(resolve));
  }
});

t.test('the limit of all pods together leaves a few to each', async (t) => {
  const { ask, client, budget, port, heard } = await setUp(t, () => undefined);
  budget.outstanding = allOutstandingMax;
  const silent = client();
  for (let i = 0; i < ownOutstanding; i += 1) {
    silent.send(queryOf('outside.example', i), port, '127.0.0.1');
  }
  while (heard.length < ownOutstanding) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  t.equal(rcode(await ask(queryOf('outside.example'))), 2, 'one more');
  t.equal(heard.length, ownOutstanding);
  budget.outstanding = allOutstandingMax - 1;
  silent.send(queryOf('outside.example'), port, '127.0.0.1');
  while (heard.length <= ownOutstanding) {
    await new Promise((resolve) => setImmediate(resolve));
  }
});

t.test('queries that come faster than they get their turn are dropped and counted', async (t) => {
  const { server, client, port } = await setUp(t);
  const socket = client();
  let answers = 0;
  socket.on('message', () => {
    answers += 1;
  });
  let sent = 0;
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  while (server.counts.dropped === 0) {
    // More than get their turn, and few enough for the kernel's buffer.
    for (let i = 0; i < 8 * queriesPerTurn; i += 1) {
      socket.send(queryOf('web', sent++ & 0xffff), port, '127.0.0.1');
    }
    await turn();
  }
  while (answers + server.counts.dropped < sent) {
    await turn();
  }
  t.ok(answers >= waitingMax, `${answers} answered, ${server.counts.dropped} dropped`);
  t.equal(server.counts.requests, answers);
});

t.test('a datagram that is longer than any query is dropped and counted', async (t) => {
  const { server, ask, client, port } = await setUp(t);
  client().send(Buffer.concat([queryOf('web'), Buffer.alloc(4097)]), port, '127.0.0.1');
  t.equal(rcode(await ask(queryOf('web'))), 0);
  t.match(server.counts, { requests: 1, dropped: 1 });
});

t.test('queries over the rate are dropped and counted, until time goes on', async (t) => {
  const { server, clock, ask, client, port } = await setUp(t);
  const socket = client();
  let id = 0;
  while (server.counts.dropped === 0) {
    // Few at once, so that each gets its turn.
    for (let i = 0; i < queriesPerTurn; i += 1) {
      socket.send(queryOf('web', id++ & 0xffff), port, '127.0.0.1');
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  while (server.counts.requests < 2 * queriesPerSecondMax) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  t.equal(server.counts.requests, 2 * queriesPerSecondMax);
  clock.now += 1_000;
  t.equal(rcode(await ask(queryOf('web'))), 0);
});

async function connected(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

async function messages(socket: Socket, count: number): Promise<Buffer[]> {
  let bytes = Buffer.alloc(0);
  const out: Buffer[] = [];
  for await (const more of socket) {
    bytes = Buffer.concat([bytes, more as Buffer]);
    while (bytes.length >= 2 && bytes.length >= 2 + bytes.readUInt16BE(0)) {
      const end = 2 + bytes.readUInt16BE(0);
      out.push(bytes.subarray(2, end));
      bytes = bytes.subarray(end);
    }
    if (out.length >= count) {
      break;
    }
  }
  return out;
}

t.test('by TCP, queries may come in pieces and many at once', async (t) => {
  const { port } = await setUp(t);
  const socket = await connected(port);
  const many = Array.from({ length: 3 * pipelineMax }, (_, i) => framed(queryOf('web', i)));
  const bytes = Buffer.concat(many);
  socket.write(bytes.subarray(0, 1));
  socket.write(bytes.subarray(1, 30));
  socket.write(bytes.subarray(30));
  const answers = await messages(socket, many.length);
  const ids = answers.map((answer) => answer.readUInt16BE(0)).sort((a, b) => a - b);
  t.same(
    ids,
    many.map((_, i) => i),
  );
});

t.test('by TCP, who ends behind a query gets an answer that comes late', async (t) => {
  const { port, resolverPort } = await setUp(t);
  const asked = Promise.withResolvers<() => void>();
  const resolver = createServer((socket) => {
    socket.once('data', (bytes: Buffer) => {
      asked.resolve(() => socket.write(framed(answerOf(bytes.subarray(2)))));
    });
  });
  resolver.listen(resolverPort, '127.0.0.1');
  await once(resolver, 'listening');
  t.teardown(() => resolver.close());
  const client = await connected(port);
  const answers = messages(client, 2);
  client.end(framed(queryOf('outside.example', 6)));
  const answer = await asked.promise;
  // The end has arrived, too: it takes no resolver to say so.
  await once((await connected(port)).end(), 'close');
  answer();
  t.match(
    (await answers).map((bytes) => decode(bytes)),
    [{ id: 6, answers: [{ data: '192.0.2.1' }] }],
  );
});

t.test('a TCP query that is too long, or no query, ends or stalls nobody else', async (t) => {
  const { port, ask } = await setUp(t);
  const long = await connected(port);
  long.write(Buffer.from([0xff, 0xff, 0]));
  await once(long, 'close');
  const garbage = await connected(port);
  garbage.write(framed(Buffer.from('no query at all, but long enough for a header')));
  garbage.write(framed(queryOf('web', 5)));
  const answers = await messages(garbage, 2);
  t.ok(answers.some((answer) => answer.readUInt16BE(0) === 5));
  t.equal(rcode(await ask(queryOf('web'))), 0);
});

t.test('TCP connections over the limit are dropped, the others are served', async (t) => {
  const { port } = await setUp(t);
  const open = await Promise.all(Array.from({ length: connectionsMax }, () => connected(port)));
  const extra = connect(port, '127.0.0.1');
  extra.on('error', () => undefined);
  await once(extra, 'close');
  const [first] = open;
  first?.write(framed(queryOf('web', 9)));
  const [answer] = await messages(first as Socket, 1);
  t.equal(answer?.readUInt16BE(0), 9);
  for (const socket of open) {
    socket.destroy();
  }
});

t.test('after the end nothing listens', async (t) => {
  const { server, port } = await setUp(t);
  server.close();
  const socket = connect(port, '127.0.0.1');
  const [error] = await once(socket, 'error');
  t.match(error, { code: 'ECONNREFUSED' });
});

t.test('nobody gets the ports beside the server, whatever the options', async (t) => {
  const { port } = await setUp(t);
  const { stdout } = await promisify(execFile)('/usr/bin/python3', ['-c', thief, String(port)]);
  t.strictSame(JSON.parse(stdout), new Array(16).fill('EADDRINUSE'));
});

t.test('who takes a port at the last moment keeps the server out', async (t) => {
  for (const taken of ['127.0.0.1', '::1']) {
    const port = ports.next++;
    const other = createSocket({ type: taken === '::1' ? 'udp6' : 'udp4' });
    t.teardown(() => other.close());
    // libuv lets everybody share the port of the other one when it takes the descriptor.
    const server = bareServer(port, (fd, address) => {
      if (address === taken) {
        other.bind({ fd: open('udp', address, port), exclusive: true });
      }
      bindAlone(fd, address, port);
    });
    t.teardown(() => server.close());
    const message = /^bind .+: Address already in use$/;
    await t.rejects(server.open(), { code: 'conflict', message });
    const next = bareServer(port);
    t.teardown(() => next.close());
    await t.rejects(next.open(), { code: 'conflict', message }, 'as long as it is held');
  }
});

interface Spinner {
  /** The next value that it prints. */
  next(): Promise<unknown>;
  /** Tells it to end. */
  end(): void;
}

function spin(t: Test, port: number): Spinner {
  const child = spawn('/usr/bin/python3', [spinner, String(port)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    next: async () => JSON.parse((await lines.next()).value ?? 'null'),
    end: () => child.stdin.end(),
  };
}

t.test('who asks for the port all the time never shares it with a server', async (t) => {
  const port = ports.next++;
  const spinning = spin(t, port);
  t.equal(await spinning.next(), 'spinning');
  const outcomes = { started: 0, lost: 0 };
  while (outcomes.started < startsWanted && outcomes.lost < lostMax) {
    const server = bareServer(port);
    try {
      await server.open();
      outcomes.started += 1;
    } catch (error) {
      t.match(error, { code: 'conflict', message: /^bind .+: Address already in use$/ });
      outcomes.lost += 1;
    }
    server.close();
  }
  spinning.end();
  const seen = (await spinning.next()) as Record<string, number>;
  t.comment(JSON.stringify({ ...outcomes, ...seen }));
  t.equal(outcomes.started, startsWanted);
  t.equal(seen['shared'], 0);
  t.ok((seen['refused'] ?? 0) > 0, 'it met a server');
  t.ok((seen['alone'] ?? 0) > 0, 'it was there between the servers');
});
