// SPDX-License-Identifier: Apache-2.0
// The tests of the tunnel once more, with TLS records and HTTP/2 framing done by the libraries.
// Needs root.
import { join } from 'node:path';
import t from 'tap';

const files = [
  'hbone/peer-client.ts',
  'hbone/peer-server.ts',
  'hbone/refusals.ts',
  'hbone/deaf-peer.ts',
  'hbone/floods.ts',
  'hbone/rapid-reset.ts',
  'hbone/stalls.ts',
  'peers/envoy-client.ts',
  'peers/envoy-server.ts',
  'back-pressure.ts',
  'drain.ts',
  'limits.ts',
  'open-connections.ts',
];
/** Of one file: what hangs says so itself, before. */
const timeout = 300_000;
t.setTimeout(900_000);

// The argument is part of the name of a test's folder, which others may run in meanwhile.
for (const file of files) {
  const path = join(import.meta.dirname, file);
  t.spawn(
    process.execPath,
    [path, 'library'],
    { env: { ...process.env, WEFT_TEST_ROWS: 'library' }, timeout },
    file,
  );
}
