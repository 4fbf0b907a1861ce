// SPDX-License-Identifier: Apache-2.0
// Envoy as the sidecar of a variant.
import { MeshError } from '../../lib/error.ts';
import { serverPorts } from '../mesh.ts';
import type { Variant } from '../variants/variant.ts';
import { envoySidecar } from './envoy-config.ts';
import { envoyProgram, envoyVersion } from './envoy-install.ts';
import { type SidecarProgram, sidecarCgroup, startSidecars } from './sidecar.ts';

const flags = ['--concurrency', '1', '--disable-hot-restart', '--log-level', 'warning'];

const titles = {
  tcp: 'TCP proxy, a TLS connection for each connection',
  http: 'HTTP at both ends, HTTP/2 between them',
} as const;

/** A variant of Envoy sidecars that carry bytes, or read HTTP. */
export function envoySidecars(name: string, reads: 'tcp' | 'http'): Variant {
  let program = '';
  const sidecar: SidecarProgram = {
    exempt: 'mark',
    configName: 'envoy.json',
    config: (svid, peers, { sessions }) =>
      envoySidecar({ ...svid, peer: { prefix: peers } }, reads, sessions),
    command: (file) => [program, '--config-path', file, ...flags],
  };
  return {
    name,
    title: `Envoy ${envoyVersion} sidecars, ${titles[reads]}, mutual TLS 1.3, one worker each, no access log`,
    meshed: false,
    carries: reads,
    tlsPort: serverPorts.http,
    prepare: async (progress) => {
      try {
        program = await envoyProgram(progress);
        return undefined;
      } catch (error) {
        return MeshError.from(error).message;
      }
    },
    start: (lab, options) => startSidecars(lab, { name }, sidecar, options),
    proxyOf: (lab, end) => sidecarCgroup(lab, { name }, end),
  };
}
