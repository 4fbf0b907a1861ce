// SPDX-License-Identifier: Apache-2.0
// HAProxy's configuration as a TCP sidecar. A server without an address is dialled where the
// captured connection was going. One thread, no log.
import { sidecarPorts } from './capture.ts';
import type { SvidFiles } from './svid-files.ts';

/** Connections that one sidecar takes at a time; each needs two descriptors. */
export const haproxyConnectionsMax = 9_500;

/** The user that it becomes; Debian's package makes it. */
export const haproxyUser = 'haproxy';

/**
 * The sidecar of a pod: captured plaintext goes out in mutual TLS, and comes in by it. Unless
 * `resume`, no TLS session is kept: each connection is a full handshake.
 */
export function haproxySidecar({ bundleFile, rootFile }: SvidFiles, resume: boolean): string {
  const tls = `ssl crt ${bundleFile} ca-file ${rootFile} verify required ssl-min-ver TLSv1.3`;
  return `global
  maxconn ${haproxyConnectionsMax}
  nbthread 1
  user ${haproxyUser}
  group ${haproxyUser}
${resume ? '' : '  tune.ssl.cachesize 0\n'}defaults
  mode tcp
  timeout connect 10s
  timeout client 1h
  timeout server 1h
frontend outbound
  bind 0.0.0.0:${sidecarPorts.outbound}
  default_backend peer
backend peer
  server original 0.0.0.0:0 ${tls}${resume ? '' : ' no-ssl-reuse'}
frontend inbound
  bind 0.0.0.0:${sidecarPorts.inbound} ${tls}${resume ? '' : ' no-tls-tickets'}
  default_backend application
backend application
  server original 0.0.0.0:0
`;
}
