// SPDX-License-Identifier: Apache-2.0
import { runProgram } from '../../lib/program.ts';
import { serverPorts } from '../mesh.ts';
import { haproxySidecar, haproxyUser } from '../sidecars/haproxy-config.ts';
import { type SidecarProgram, sidecarCgroup, startSidecars } from '../sidecars/sidecar.ts';
import type { Variant } from './variant.ts';

const name = 'haproxy';

const sidecar: SidecarProgram = {
  exempt: { user: haproxyUser },
  configName: 'haproxy.cfg',
  config: (svid, _, { sessions }) => haproxySidecar(svid, sessions),
  command: (file) => ['haproxy', '-db', '-f', file],
};

/** HAProxy as sidecars that carry bytes. It checks who signed a peer's certificate, not its name. */
export const haproxy: Variant = {
  name,
  title: "Debian's HAProxy sidecars, TCP mode, mutual TLS 1.3, one thread each, no log",
  meshed: false,
  carries: 'tcp',
  tlsPort: serverPorts.http,
  prepare: async () => {
    const { code } = await runProgram('which', ['haproxy']);
    return code === 0 ? undefined : 'haproxy is not installed (apt-get install haproxy)';
  },
  start: (lab, options) => startSidecars(lab, { name }, sidecar, options),
  proxyOf: (lab, end) => sidecarCgroup(lab, { name }, end),
};
