// SPDX-License-Identifier: Apache-2.0
// Tests of the proxy once more, with their pods captured in the kernel. Left out: what is about the
// inside of a tunnel, which no capture sees (hbone/ but for two, peers/envoy-sessions.ts), and
// explain-services.ts, which puts nftables into a pod by name. Needs root.
import { join } from 'node:path';
import t from 'tap';

const files = [
  'back-pressure.ts',
  'drain.ts',
  'expiry.ts',
  'explain.ts',
  'hbone/peer-server.ts',
  'hbone/refusals.ts',
  'limits.ts',
  'open-connections.ts',
  'passthrough.ts',
  'peers/envoy-client.ts',
  'peers/envoy-server.ts',
  'retry-bytes.ts',
  'retry.ts',
  'routes.ts',
  'snapshot.ts',
  '../ztunnel/dns/proxy.ts',
];
t.setTimeout(300_000);

for (const file of files) {
  const path = join(import.meta.dirname, file);
  t.spawn(process.execPath, [path], { env: { ...process.env, WEFT_TEST_CAPTURE: 'ebpf' } }, file);
}
