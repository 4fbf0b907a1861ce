// SPDX-License-Identifier: Apache-2.0
// Connections are the test's; test/src/control/tls-port.ts has real ones.
import { EventEmitter } from 'node:events';
import { mock } from 'node:test';
import t from 'tap';
import {
  HandshakeGate,
  handshakesMax,
  handshakesPerSourceMax,
  handshakeTimeoutMs,
} from '../../../src/control/handshake-gate.ts';

class Connection extends EventEmitter {
  readonly localAddress = '127.0.0.1';
  readonly remoteAddress: string;
  readonly remotePort: number;
  isCut = false;

  constructor(remoteAddress: string, remotePort: number) {
    super();
    this.remoteAddress = remoteAddress;
    this.remotePort = remotePort;
  }

  destroy(): void {
    this.isCut = true;
    this.emit('close');
  }
}

function setUp() {
  const reasons: string[] = [];
  const gate = new HandshakeGate((_peer, reason) => void reasons.push(reason));
  let port = 0;
  const enter = (address: string) => {
    port += 1;
    const connection = new Connection(address, port);
    gate.enter(connection);
    return connection;
  };
  const fill = (address: string, count: number) =>
    Array.from({ length: count }, () => enter(address));
  return { enter, fill, gate, reasons };
}

mock.timers.enable({ apis: ['setTimeout'] });
t.teardown(() => mock.timers.reset());

t.test('one source has so many handshakes, and then its oldest goes', async (t) => {
  const { enter, fill, gate, reasons } = setUp();
  const other = enter('192.0.2.1');
  const [first, second] = fill('192.0.2.2', handshakesPerSourceMax);
  t.notOk(first?.isCut, 'at the limit');
  const last = enter('192.0.2.2');
  t.ok(first?.isCut, 'one past it');
  t.same([second?.isCut, last.isCut, other.isCut], [false, false, false]);
  t.equal(gate.size, handshakesPerSourceMax + 1);
  t.match(reasons, [/handshakes of 192\.0\.2\.2$/]);
});

t.test('a /64 of IPv6 is one source, and so is IPv4 in either form', async (t) => {
  const { enter, fill } = setUp();
  const [first] = fill('2001:db8::1', handshakesPerSourceMax);
  enter('2001:db8:0:1::1');
  t.notOk(first?.isCut, 'another /64');
  enter('2001:db8::ffff:0:0:2');
  t.ok(first?.isCut);
  const [mapped] = fill('::ffff:192.0.2.1', handshakesPerSourceMax);
  enter('::ffff:192.0.2.2');
  t.notOk(mapped?.isCut);
  enter('192.0.2.1');
  t.ok(mapped?.isCut);
});

t.test('all sources together have so many, and then the oldest of all goes', async (t) => {
  const { enter, gate, reasons } = setUp();
  const connections = Array.from({ length: handshakesMax }, (_, index) =>
    enter(`10.0.${index >> 8}.${index & 255}`),
  );
  const [first, second] = connections;
  t.notOk(first?.isCut, 'at the limit');
  enter('192.0.2.1');
  t.ok(first?.isCut, 'one past it');
  t.notOk(second?.isCut);
  t.equal(gate.size, handshakesMax);
  t.match(reasons, [`over ${handshakesMax} handshakes`]);
});

t.test('a handshake that takes too long is cut, one that is done is not', async (t) => {
  const { enter, gate } = setUp();
  const [slow, done, gone] = [enter('192.0.2.1'), enter('192.0.2.1'), enter('192.0.2.1')];
  gate.leave(done);
  gone.emit('close');
  t.equal(gate.size, 1);
  mock.timers.tick(handshakeTimeoutMs - 1);
  t.notOk(slow.isCut);
  mock.timers.tick(1);
  t.same([slow.isCut, done.isCut, gone.isCut], [true, false, false]);
  t.equal(gate.size, 0);
});

t.test('closing it cuts what is under way', async (t) => {
  const { enter, gate } = setUp();
  const connection = enter('192.0.2.1');
  gate.close();
  t.ok(connection.isCut);
  t.equal(gate.size, 0);
});
