// SPDX-License-Identifier: Apache-2.0
// A plain HTTP/2 client over a plain socket: TLS is not this side's work.
import { once } from 'node:events';
import { type ClientHttp2Session, connect } from 'node:http2';
import { createServer, type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import { certificateService } from '../../../src/ca/server.ts';
import { GrpcSide } from '../../../src/control/grpc-side.ts';

async function serve(t: Test, idleMs?: number) {
  const side = new GrpcSide(1024, idleMs);
  const calls: ((error: null, answer: unknown) => void)[] = [];
  const called = Promise.withResolvers<void>();
  side.addService(certificateService, {
    CreateCertificate: (_call: unknown, callback: (error: null, answer: unknown) => void) => {
      calls.push(callback);
      called.resolve();
    },
  });
  const server = createServer((socket: Socket) => side.inject(socket as TLSSocket));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(async () => {
    server.close();
    await side.stop(0);
  });
  const { port } = server.address() as { port: number };
  const dial = (): ClientHttp2Session => {
    const session = connect(`http://127.0.0.1:${port}`);
    t.teardown(() => session.destroy());
    session.on('error', () => {});
    return session;
  };
  return { side, dial, calls, called: called.promise };
}

function call(session: ClientHttp2Session) {
  const path = '/istio.v1.auth.IstioCertificateService/CreateCertificate';
  const headers = { ':method': 'POST', ':path': path, te: 'trailers' };
  const stream = session.request({ ...headers, 'content-type': 'application/grpc' });
  stream.on('error', () => {});
  stream.end(Buffer.alloc(5));
  return stream.resume();
}

t.test('a connection without a call is ended, and one whose call was answered', async (t) => {
  const { dial, calls, called } = await serve(t, 50);
  const silent = dial();
  const asking = dial();
  const stream = call(asking);
  await called;
  await once(silent, 'close');
  t.notOk(asking.closed, 'a call keeps its connection');
  calls[0]?.(null, { certChain: [], $typeName: 'istio.v1.auth.IstioCertificateResponse' });
  await once(stream, 'close');
  await once(asking, 'close');
  t.pass('and goes with it');
});

t.test('a connection that comes after the stop is ended', async (t) => {
  const { side, dial } = await serve(t);
  await side.stop(0);
  await once(dial(), 'close');
  t.pass('ended');
});
