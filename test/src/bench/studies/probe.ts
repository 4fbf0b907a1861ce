// SPDX-License-Identifier: Apache-2.0
// The probe as a process, before a server that turns round.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t from 'tap';

t.test('says when what becomes of a connection changes', async (t) => {
  let open = true;
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    if (open) {
      socket.once('data', () => socket.end('HTTP/1.0 200 OK\r\n\r\n'));
    } else {
      socket.resetAndDestroy();
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  const program = join(import.meta.dirname, '../../../../src/bench/studies/probe.ts');
  const probe = spawn(process.execPath, [program, '127.0.0.1', String(port)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => probe.kill());
  const lines = createInterface({ input: probe.stdout })[Symbol.asyncIterator]();
  let last = 0n;
  for (const wanted of ['answered', 'refused', 'answered']) {
    open = wanted === 'answered';
    const { value = '' } = await lines.next();
    const [at = '', outcome] = value.split(' ');
    t.equal(outcome, wanted);
    t.ok(BigInt(at) > last, 'by a clock that only rises');
    last = BigInt(at);
  }
});
