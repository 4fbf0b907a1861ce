// SPDX-License-Identifier: Apache-2.0
// Deadlines, on a clock that the test turns; the socket is a fake.
import { mock } from 'node:test';
import { create, toBinary } from '@bufbuild/protobuf';
import t, { type Test } from 'tap';
import { answerTimeoutMs, ZdsConnection } from '../../../src/cni/zds-connection.ts';
import { WorkloadResponseSchema, ZdsHelloSchema } from '../../../src/lib/gen/zds_pb.js';
import type { MeshConfig } from '../../../src/lib/pod-settings.ts';

const hello = toBinary(ZdsHelloSchema, create(ZdsHelloSchema, { version: 1 }));
const ack = toBinary(
  WorkloadResponseSchema,
  create(WorkloadResponseSchema, { payload: { case: 'ack', value: {} } }),
);
const del = { case: 'del', value: { uid: 'one' } } as const;

interface Seen {
  readonly connection: ZdsConnection;
  sent: number;
  readonly closed: string[];
  readonly configs: MeshConfig[];
}

function connect(t: Test): Seen {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  const seen = { sent: 0, closed: [] as string[], configs: [] as MeshConfig[] };
  const packets = {
    send: () => {
      seen.sent += 1;
    },
    close: () => undefined,
    pid: 1,
    uid: 0,
  };
  const connection = new ZdsConnection(packets, {
    onHello: () => undefined,
    onClose: (reason) => seen.closed.push(reason),
    onMeshConfig: (config) => seen.configs.push(config),
  });
  return Object.assign(seen, { connection });
}

t.test('a proxy that says no hello is cut off at the deadline', async (t) => {
  const { closed } = connect(t);
  mock.timers.tick(answerTimeoutMs - 1);
  t.same(closed, []);
  mock.timers.tick(1);
  t.same(closed, ['no hello in time']);
});

t.test('a proxy that does not ack is cut off at the deadline', async (t) => {
  const seen = connect(t);
  const handlers = seen.connection.handlers();
  handlers.onMessage(hello, []);
  mock.timers.tick(2 * answerTimeoutMs);
  t.same(seen.closed, [], 'an idle proxy is left alone');
  const first = seen.connection.request(del);
  const second = seen.connection.request(del);
  mock.timers.tick(answerTimeoutMs - 1);
  handlers.onMessage(ack, []);
  await first;
  t.equal(seen.sent, 2);
  mock.timers.tick(answerTimeoutMs - 1);
  t.same(seen.closed, [], 'each request has the whole time');
  mock.timers.tick(1);
  await t.rejects(second, { code: 'timeout' });
  t.same(seen.closed, ['no ack in time']);
  await t.rejects(seen.connection.request(del), { code: 'unavailable' });
});

t.test('a message with descriptors ends the connection', async (t) => {
  const seen = connect(t);
  seen.connection.handlers().onMessage(hello, [9]);
  t.equal(seen.closed.length, 1);
});
