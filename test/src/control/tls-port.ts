// SPDX-License-Identifier: Apache-2.0
// Over real TLS, with certificates of a test authority.
import 'reflect-metadata';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { mock } from 'node:test';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import { handshakesPerSourceMax, handshakeTimeoutMs } from '../../../src/control/handshake-gate.ts';
import { strangerLifeMs, strangersMax, TlsPort } from '../../../src/control/tls-port.ts';
import { createLog } from '../../../src/lib/log.ts';
import { makeRequest } from '../../support/certificate-requests.ts';
import { IssuingCa } from '../../support/issuing-ca.ts';

async function materialOf(ca: IssuingCa) {
  const { chainPem, keyPem } = await ca.serverCertificate();
  return { keyPem, chainPem: [chainPem], rootPem: ca.rootPem };
}

async function open(t: Test) {
  const ca = await IssuingCa.create();
  const accepted: TLSSocket[] = [];
  const first = Promise.withResolvers<TLSSocket>();
  const reasons: string[] = [];
  const log = createLog('test', 'info', {
    write: (line) => void reasons.push(String(JSON.parse(line).reason)),
  });
  const port = new TlsPort(await materialOf(ca), log, (socket) => {
    accepted.push(socket);
    first.resolve(socket);
  });
  t.teardown(() => {
    port.stopListening();
    port.destroy();
  });
  const number = await port.listen([
    { host: '127.0.0.1', port: 0 },
    { host: '::1', port: 0 },
  ]);
  const dial = async (options: ConnectionOptions = {}) => {
    const socket = connect({
      port: number,
      host: '127.0.0.1',
      servername: 'localhost',
      ca: ca.rootPem,
      ALPNProtocols: ['h2'],
      ...options,
    });
    t.teardown(() => socket.destroy());
    socket.on('error', () => {});
    await once(socket, 'secureConnect');
    return socket;
  };
  /** Connects, and says nothing. */
  const dialSilently = async (localAddress: string): Promise<Socket> => {
    const socket = connectTcp({ port: number, host: '127.0.0.1', localAddress });
    t.teardown(() => socket.destroy());
    socket.on('error', () => {});
    await once(socket, 'connect');
    return socket;
  };
  return { accepted, ca, dial, dialSilently, first: first.promise, port, reasons };
}

/** A key and certificate of a client. */
async function clientOf(ca: IssuingCa, notAfterMs = 60_000) {
  const { csrPem, keyPem } = await makeRequest('spiffe://td/node/a');
  const leaf = await ca.issueFor(csrPem, { notAfterMs });
  return { key: keyPem, cert: leaf.toString('pem') };
}

t.test('hands on a client without a certificate, as one that is not known', async (t) => {
  const { dial, first } = await open(t);
  const socket = await dial();
  t.match(socket, { alpnProtocol: 'h2', authorized: true });
  t.equal(socket.getProtocol(), 'TLSv1.3');
  const accepted = await first;
  t.equal(accepted.authorized, false);
  t.equal(accepted.getPeerX509Certificate(), undefined);
});

t.test('shows its chain with the root, so that a node can learn it', async (t) => {
  const { ca, dial } = await open(t);
  const socket = await dial();
  const root = socket.getPeerCertificate(true).issuerCertificate;
  t.same(root.raw, new X509Certificate(ca.rootPem).raw);
});

t.test('hands on a client with a good certificate as that', async (t) => {
  const { ca, dial, first } = await open(t);
  await dial(await clientOf(ca));
  t.equal((await first).authorized, true);
});

t.test('ends a client with a certificate that is strange or over', async (t) => {
  const { accepted, ca, dial, reasons } = await open(t);
  const stranger = await clientOf(await IssuingCa.create());
  const late = await clientOf(ca, -1000);
  for (const identity of [stranger, late]) {
    const socket = await dial(identity);
    await once(socket, 'close');
  }
  t.equal(accepted.length, 0);
  t.match(reasons, [/./, 'CERT_HAS_EXPIRED']);
});

t.test("cuts a connection when its client's certificate ends", async (t) => {
  const { ca, dial } = await open(t);
  const identity = await clientOf(ca, 2000);
  const socket = await dial(identity);
  const end = new X509Certificate(identity.cert).validToDate.getTime();
  await once(socket.resume(), 'close');
  t.ok(Date.now() >= end);
});

t.test('cuts a client without a certificate after a while, and no other', async (t) => {
  const { accepted, ca, dial } = await open(t);
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  const node = await dial(await clientOf(ca));
  const stranger = await dial();
  while (accepted.length < 2) {
    await new Promise(setImmediate);
  }
  mock.timers.tick(strangerLifeMs - 1);
  t.notOk(accepted.some(({ destroyed }) => destroyed));
  mock.timers.tick(1);
  t.same(
    accepted.map(({ authorized, destroyed }) => ({ authorized, destroyed })),
    [
      { authorized: true, destroyed: false },
      { authorized: false, destroyed: true },
    ],
  );
  await once(stranger.resume(), 'close');
  t.notOk(node.destroyed);
});

t.test('holds so many clients without a certificate, and then the oldest goes', async (t) => {
  const { accepted, ca, dial } = await open(t);
  await dial(await clientOf(ca));
  for (let i = 0; i < strangersMax; i += 1) {
    await dial();
  }
  const [node, first, second] = accepted;
  t.notOk(first?.destroyed, 'at the limit');
  await dial({ host: '::1' });
  while (accepted.length < strangersMax + 2) {
    await new Promise(setImmediate);
  }
  t.ok(first?.destroyed, 'one past it');
  t.notOk(second?.destroyed);
  t.notOk(accepted.at(-1)?.destroyed);
  t.notOk(node?.destroyed, 'a client with a certificate does not count');
});

t.test('clients that do not finish their handshakes give way to others, and to time', async (t) => {
  const { accepted, dial, dialSilently } = await open(t);
  const known = await dial();
  const elsewhere = await dialSilently('127.0.0.3');
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  const first = await dialSilently('127.0.0.2');
  for (let i = 1; i < handshakesPerSourceMax; i += 1) {
    await dialSilently('127.0.0.2');
  }
  // Whoever is served after them shows that they were all seen.
  await dial({ socket: await dialSilently('127.0.0.3') });
  t.notOk(first.destroyed, 'at the limit');
  const closed = once(first.resume(), 'close');
  const last = await dialSilently('127.0.0.2');
  await closed;
  await dial({ socket: await dialSilently('127.0.0.2') });
  while (accepted.length < 3) {
    await new Promise(setImmediate);
  }
  t.same([last.destroyed, elsewhere.destroyed], [false, false], 'the oldest of that address goes');
  const cut = once(last.resume(), 'close');
  mock.timers.tick(handshakeTimeoutMs);
  await cut;
  t.notOk(known.destroyed);
  t.notOk(
    accepted.some(({ destroyed }) => destroyed),
    'a finished handshake is not timed',
  );
});

t.test('listens on every address with one port number', async (t) => {
  const { dial } = await open(t);
  t.ok((await dial()).remotePort === (await dial({ host: '::1' })).remotePort);
});

t.test('shows a new certificate once it is renewed', async (t) => {
  const { ca, dial, port } = await open(t);
  const serial = async () => (await dial()).getPeerX509Certificate()?.serialNumber;
  const before = await serial();
  t.equal(await serial(), before);
  port.renew(await materialOf(ca));
  t.not(await serial(), before);
});

t.test('says when an address is taken', async (t) => {
  const { ca, dial } = await open(t);
  const taken = (await dial()).remotePort ?? 0;
  const second = new TlsPort(await materialOf(ca), createLog('test', 'silent'), () => {});
  await t.rejects(second.listen([{ host: '127.0.0.1', port: taken }]), { code: 'conflict' });
});
