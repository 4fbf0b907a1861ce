// SPDX-License-Identifier: Apache-2.0
// The transport is a fake agent; real SEQPACKET sockets have their turn in node-proxy.ts.
import { mock } from 'node:test';
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import t, { type Test } from 'tap';
import type { PacketHandlers, Packets } from '../../native/index.ts';
import { MeshError } from '../../src/lib/error.ts';
import {
  WorkloadRequestSchema,
  WorkloadResponseSchema,
  ZdsHelloSchema,
} from '../../src/lib/gen/zds_pb.js';
import { createLog } from '../../src/lib/log.ts';
import {
  ackCharactersMax,
  encodeAck,
  encodeHello,
  packetBytesMax,
  parseZdsRequest,
  waitingPacketsMax,
  ZdsClient,
  type ZdsRequest,
} from '../../ztunnel/zds.ts';

const log = createLog('test', 'silent');

function packet(init: MessageInitShape<typeof WorkloadRequestSchema>): Uint8Array {
  return toBinary(WorkloadRequestSchema, create(WorkloadRequestSchema, init));
}

const info = { name: 'client', namespace: 'demo', serviceAccount: 'client' };
const add = packet({ payload: { case: 'add', value: { uid: 'u1', workloadInfo: info } } });
const del = packet({ payload: { case: 'del', value: { uid: 'u1' } } });
const keep = packet({ payload: { case: 'keep', value: { uid: 'u1' } } });
const snapshot = packet({ payload: { case: 'snapshotSent', value: {} } });

function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

t.test('each request is parsed', async (t) => {
  const value = { kind: 'add', uid: 'u1', claim: info, nameservers: [] };
  t.same(parseZdsRequest(add), { ok: true, value });
  t.same(parseZdsRequest(del), { ok: true, value: { kind: 'del', uid: 'u1' } });
  t.same(parseZdsRequest(keep), { ok: true, value: { kind: 'keep', uid: 'u1' } });
  t.same(parseZdsRequest(snapshot), {
    ok: true,
    value: { kind: 'snapshot sent', takesMeshConfig: false },
  });
});

t.test('resolvers come along; what cannot be asked from the pod is left out', (t) => {
  const addOf = (nameservers: Uint8Array[]): Uint8Array =>
    packet({ payload: { case: 'add', value: { uid: 'u1', workloadInfo: info, nameservers } } });
  const four = (last: number): Uint8Array => new Uint8Array([10, 0, 0, last]);
  const some = parseZdsRequest(addOf([new Uint8Array([127, 0, 0, 1]), four(1), four(2)]));
  t.match(some, { ok: true, value: { nameservers: ['10.0.0.1', '10.0.0.2'] } });
  const many = parseZdsRequest(addOf([1, 2, 3, 4].map(four)));
  t.match(many, { value: { nameservers: ['10.0.0.1', '10.0.0.2', '10.0.0.3'] } });
  const six = new Uint8Array(16).fill(0xfd);
  t.match(parseZdsRequest(addOf([six])), { value: { nameservers: [/^fdfd:fdfd:/] } });
  t.match(parseZdsRequest(addOf([new Uint8Array(3)])), { ok: false });
  t.end();
});

t.test('what is no request is refused with a sentence', async (t) => {
  const long = 'x'.repeat(packetBytesMax);
  const wrong: [Uint8Array, RegExp][] = [
    [new Uint8Array([0xff, 0xff]), /./],
    [new Uint8Array(), /of no kind/],
    [packet({ payload: { case: 'del', value: {} } }), /uid is missing/],
    [packet({ payload: { case: 'add', value: { uid: 'u1' } } }), /without workload_info/],
    [
      packet({ payload: { case: 'add', value: { uid: 'u1', workloadInfo: { name: 'a' } } } }),
      /namespace is missing/,
    ],
    [packet({ payload: { case: 'del', value: { uid: long } } }), /over 1024 bytes/],
  ];
  for (const [bytes, message] of wrong) {
    t.match(parseZdsRequest(bytes), { ok: false, error: { code: 'invalid', message } });
  }
});

t.test('an ack always fits its packet', async (t) => {
  const ack = fromBinary(WorkloadResponseSchema, encodeAck('é'.repeat(5000)));
  t.match(ack.payload, { case: 'ack', value: { error: /^é+$/ } });
  t.equal(ack.payload.case === 'ack' && ack.payload.value.error.length, ackCharactersMax);
  t.ok(encodeAck('\u{10ffff}'.repeat(5000)).length <= packetBytesMax);
});

interface Connection {
  readonly handlers: PacketHandlers;
  readonly sent: Uint8Array[];
  closed: boolean;
}

function setUp(t: Test, carryOut: (request: ZdsRequest, netns: number) => Promise<void>, uid = 0) {
  mock.timers.enable({ apis: ['setTimeout'] });
  const connections: Connection[] = [];
  const closedFds: number[] = [];
  const events: string[] = [];
  const transport = {
    connect: (_path: string, handlers: PacketHandlers): Packets => {
      const connection: Connection = { handlers, sent: [], closed: false };
      connections.push(connection);
      return {
        send: (data) => connection.sent.push(data),
        close: () => {
          connection.closed = true;
        },
        pid: 1,
        uid,
      };
    },
    closeFd: (fd: number) => closedFds.push(fd),
  };
  const handler = {
    onConnect: () => events.push('connect'),
    onDisconnect: () => events.push('disconnect'),
    onRequest: carryOut,
  };
  const client = new ZdsClient('/agent.sock', transport, handler, log);
  t.teardown(() => {
    client.close();
    mock.timers.reset();
  });
  client.start();
  const connection = (index = 0): Connection => {
    const found = connections[index];
    if (found === undefined) {
      throw new Error(`only ${connections.length} connections`);
    }
    return found;
  };
  const acks = (index = 0): (string | undefined)[] =>
    connection(index)
      .sent.slice(1)
      .map((bytes) => fromBinary(WorkloadResponseSchema, bytes).payload)
      .map((payload) => (payload.case === 'ack' ? payload.value.error : payload.case));
  return { client, connections, connection, closedFds, events, acks };
}

t.test('it greets first, and answers each message once, in order', async (t) => {
  const requests: [string, number][] = [];
  const { connection, acks, events } = setUp(t, async ({ kind }, netns) => {
    requests.push([kind, netns]);
  });
  t.same(connection().sent, [encodeHello()]);
  t.equal(fromBinary(ZdsHelloSchema, encodeHello()).version, 1);
  connection().handlers.onMessage(add, [7]);
  connection().handlers.onMessage(keep, []);
  connection().handlers.onMessage(del, []);
  connection().handlers.onMessage(snapshot, []);
  await settle();
  t.same(requests, [
    ['add', 7],
    ['keep', -1],
    ['del', -1],
    ['snapshot sent', -1],
  ]);
  t.same(acks(), ['', '', '', '']);
  t.same(events, ['connect']);
});

t.test('a failure is answered with its sentence, and never with success', async (t) => {
  const sentences = ['no such pod', ''];
  const { connection, acks } = setUp(t, async () => {
    throw new MeshError('denied', sentences.shift() ?? '');
  });
  connection().handlers.onMessage(del, []);
  connection().handlers.onMessage(del, []);
  await settle();
  t.same(acks(), ['no such pod', 'failed']);
});

t.test('the wrong number of descriptors is refused, and all of them are closed', async (t) => {
  const requests: string[] = [];
  const { connection, acks, closedFds } = setUp(t, async ({ kind }) => {
    requests.push(kind);
  });
  connection().handlers.onMessage(add, []);
  connection().handlers.onMessage(add, [7, 8]);
  connection().handlers.onMessage(del, [9]);
  connection().handlers.onMessage(new Uint8Array([0xff]), [10]);
  await settle();
  t.same(requests, []);
  t.same(closedFds, [7, 8, 9, 10]);
  t.equal(acks().length, 4);
  t.notOk(acks().includes(''));
});

t.test('a next message waits until the one before it was carried out', async (t) => {
  const order: string[] = [];
  let release: () => void = () => undefined;
  const { connection, acks } = setUp(t, async ({ kind }) => {
    order.push(kind);
    if (kind === 'add') {
      await new Promise<void>((resolve) => {
        release = resolve;
      });
    }
  });
  connection().handlers.onMessage(add, [7]);
  connection().handlers.onMessage(del, []);
  await settle();
  t.same(order, ['add']);
  t.same(acks(), []);
  release();
  await settle();
  t.same(order, ['add', 'del']);
  t.same(acks(), ['', '']);
});

t.test('an agent that does not wait for its acks is cut, and leaks nothing', async (t) => {
  let release: () => void = () => undefined;
  const { connection, closedFds, events } = setUp(
    t,
    () =>
      new Promise<void>((resolve) => {
        release = resolve;
      }),
  );
  for (let i = 0; i < waitingPacketsMax; i += 1) {
    connection().handlers.onMessage(add, [100 + i]);
  }
  await settle();
  t.equal(connection().closed, false, 'the maximum is taken');
  connection().handlers.onMessage(add, [200]);
  t.equal(connection().closed, true, 'one more is not');
  t.same(events, ['connect', 'disconnect']);
  release();
  await settle();
  const waiting = Array.from({ length: waitingPacketsMax - 1 }, (_, i) => 101 + i);
  t.same(closedFds, [200, ...waiting]);
  t.equal(connection().sent.length, 1, 'nothing is answered any more');
});

t.test('an agent that is not root is not listened to', async (t) => {
  const { connection, events } = setUp(t, async () => undefined, 1000);
  t.equal(connection().closed, true);
  t.same(connection().sent, []);
  t.notOk(events.includes('connect'));
});

t.test('it reconnects after a lost connection, and says so', async (t) => {
  const { connections, connection, events, acks } = setUp(t, async () => undefined);
  connection().handlers.onMessage(snapshot, []);
  await settle();
  connection().handlers.onClose('gone');
  t.same(events, ['connect', 'disconnect']);
  mock.timers.tick(20);
  t.equal(connections.length, 2);
  t.same(connection(1).sent, [encodeHello()]);
  connection(0).handlers.onMessage(del, []);
  connection(1).handlers.onMessage(del, []);
  await settle();
  t.same(acks(1), [''], 'only the new connection is answered');
});

t.test('close() is for good', async (t) => {
  const { client, connections, connection } = setUp(t, async () => undefined);
  client.close();
  t.equal(connection().closed, true);
  connection().handlers.onClose('gone');
  mock.timers.tick(60_000);
  t.equal(connections.length, 1);
});

t.test(
  'an agent that takes it hears what counts for the mesh, before its snapshot is over',
  async (t) => {
    const { client, connection, connections, acks } = setUp(t, async () => undefined);
    const takes = packet({ payload: { case: 'snapshotSent', value: { takesMeshConfig: true } } });
    client.setMeshConfig({ sameNode: 'tunnel' });
    t.same(acks(), [], 'not before it says so');
    connection().handlers.onMessage(takes, []);
    await settle();
    t.same(acks(), ['meshConfig', '']);
    client.setMeshConfig({});
    t.same(acks(), ['meshConfig', '', 'meshConfig']);
    const said = connection().sent.slice(1);
    const last = said.map((bytes) => fromBinary(WorkloadResponseSchema, bytes));
    t.match(last[0]?.payload, { value: { capture: '', sameNode: 'tunnel' } });
    t.match(last[2]?.payload, { value: { capture: '', sameNode: '' } });
    connection().handlers.onClose('gone');
    mock.timers.tick(20_000);
    t.equal(connections.length, 2);
    client.setMeshConfig({ sameNode: 'direct' });
    connection(1).handlers.onMessage(snapshot, []);
    await settle();
    t.same(acks(1), [''], 'one that does not hears nothing');
  },
);

t.test('nothing is said of the mesh before it is known', async (t) => {
  const { connection, acks } = setUp(t, async () => undefined);
  const takes = packet({ payload: { case: 'snapshotSent', value: { takesMeshConfig: true } } });
  connection().handlers.onMessage(takes, []);
  await settle();
  t.same(acks(), ['']);
});
