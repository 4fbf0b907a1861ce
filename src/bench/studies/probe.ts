// SPDX-License-Identifier: Apache-2.0
// A program for pods: asks one server again and again, on a connection each, and says when what
// becomes of that changes.
//
//   probe.ts HOST PORT    prints "NANOSECONDS answered" or "NANOSECONDS refused", by the clock that
//                         all processes of the machine share, at the first and at each other outcome
import { connect } from 'node:net';

/** What becomes of a connection. */
export type Outcome = 'answered' | 'refused';

const timeoutMs = 2_000;

function tryOnce(host: string, port: number): Promise<Outcome> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const end = (outcome: Outcome): void => {
      socket.destroy();
      resolve(outcome);
    };
    socket.setTimeout(timeoutMs, () => end('refused'));
    socket.once('error', () => end('refused'));
    socket.once('close', () => end('refused'));
    socket.once('data', () => end('answered'));
    socket.write('GET / HTTP/1.0\r\n\r\n');
  });
}

if (import.meta.main) {
  const [host = '', port] = process.argv.slice(2);
  let last: Outcome | undefined;
  for (;;) {
    const outcome = await tryOnce(host, Number(port));
    if (outcome !== last) {
      last = outcome;
      process.stdout.write(`${process.hrtime.bigint()} ${outcome}\n`);
    }
  }
}
