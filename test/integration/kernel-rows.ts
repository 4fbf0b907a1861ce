// SPDX-License-Identifier: Apache-2.0
// Tests of the proxy once more, with their pods captured in the kernel. Left out: what is about the
// inside of a tunnel, which no capture sees (hbone/ but for one, peers/ but for one), and
// explain-services.ts, which puts nftables into a pod by name. Needs root.
import { join } from 'node:path';
import t from 'tap';

const files = [
  'back-pressure.ts',
  'drain.ts',
  'expiry.ts',
  'explain.ts',
  'hbone/peer-server.ts',
  'limits.ts',
  'open-connections.ts',
  'passthrough.ts',
  'peers/envoy-client.ts',
  'retry-bytes.ts',
  'retry.ts',
  'routes.ts',
  'snapshot.ts',
  '../ztunnel/dns/proxy.ts',
];
t.setTimeout(900_000);

// The argument is part of the name of a test's folder, which others may run in meanwhile.
for (const file of files) {
  const path = join(import.meta.dirname, file);
  t.spawn(
    process.execPath,
    [path, 'kernel'],
    { env: { ...process.env, WEFT_TEST_CAPTURE: 'ebpf' } },
    file,
  );
}
