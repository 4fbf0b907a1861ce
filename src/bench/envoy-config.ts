// SPDX-License-Identifier: Apache-2.0
// Configurations for Envoy as a pair of TCP sidecars: captured connections leave the client's pod in
// mutual TLS 1.3 and are opened again in the server's pod. Nothing but what that takes: no access
// log, no telemetry filters, no HTTP.

/** Where a captured connection is redirected to. */
export const sidecarPorts = { outbound: 15001, inbound: 15006 } as const;

/** The mark on sockets that a sidecar opens, by which the capture rules let them pass. */
export const sidecarMark = 0x539;

/** PEM files and names for one end. */
export interface SidecarIdentity {
  readonly chainFile: string;
  readonly keyFile: string;
  readonly rootFile: string;
  /** The SPIFFE ID that the other end must prove. */
  readonly peer: string;
}

/** A JSON value of a configuration. */
export type Config = { readonly [key: string]: unknown };

const typeOf = (name: string): Config => ({ '@type': `type.googleapis.com/${name}` });
const transportSockets = 'envoy.extensions.transport_sockets.tls.v3';

/** What both ends hold of TLS. `alpn` is what is offered, or chosen from. */
export function commonTls(identity: SidecarIdentity, alpn: readonly string[] = []): Config {
  const file = (filename: string): Config => ({ filename });
  return {
    tls_params: {
      tls_minimum_protocol_version: 'TLSv1_3',
      tls_maximum_protocol_version: 'TLSv1_3',
    },
    ...(alpn.length === 0 ? {} : { alpn_protocols: alpn }),
    tls_certificates: [
      { certificate_chain: file(identity.chainFile), private_key: file(identity.keyFile) },
    ],
    validation_context: {
      trusted_ca: file(identity.rootFile),
      match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: identity.peer } }],
    },
  };
}

/** TLS as the client. Sessions are not kept unless `resume`: each connection is a handshake. */
export function clientTls(
  identity: SidecarIdentity,
  options: { readonly alpn?: readonly string[]; readonly resume?: boolean } = {},
): Config {
  return {
    name: 'envoy.transport_sockets.tls',
    typed_config: {
      ...typeOf(`${transportSockets}.UpstreamTlsContext`),
      common_tls_context: commonTls(identity, options.alpn),
      max_session_keys: options.resume === true ? 256 : 0,
    },
  };
}

/** TLS as the server, which demands the client's certificate. */
export function serverTls(
  identity: SidecarIdentity,
  options: { readonly alpn?: readonly string[]; readonly resume?: boolean } = {},
): Config {
  return {
    name: 'envoy.transport_sockets.tls',
    typed_config: {
      ...typeOf(`${transportSockets}.DownstreamTlsContext`),
      common_tls_context: commonTls(identity, options.alpn),
      require_client_certificate: true,
      disable_stateless_session_resumption: options.resume !== true,
    },
  };
}

/** A cluster that dials where the captured connection was going, with marked sockets. */
export function originalDestination(name: string, transport?: Config): Config {
  const most = { max_connections: 1_000_000, max_pending_requests: 1_000_000 };
  return {
    name,
    type: 'ORIGINAL_DST',
    lb_policy: 'CLUSTER_PROVIDED',
    connect_timeout: '10s',
    circuit_breakers: { thresholds: [most] },
    upstream_bind_config: {
      source_address: { address: '0.0.0.0', port_value: 0 },
      // SOL_SOCKET, SO_MARK
      socket_options: [{ level: 1, name: 36, int_value: sidecarMark, state: 'STATE_PREBIND' }],
    },
    ...(transport === undefined ? {} : { transport_socket: transport }),
  };
}

function listener(name: string, port: number, cluster: string, transport?: Config): Config {
  const proxy = {
    name: 'envoy.filters.network.tcp_proxy',
    typed_config: {
      ...typeOf('envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'),
      stat_prefix: name,
      cluster,
    },
  };
  return {
    name,
    address: { socket_address: { address: '0.0.0.0', port_value: port } },
    listener_filters: [
      {
        name: 'envoy.filters.listener.original_dst',
        typed_config: typeOf('envoy.extensions.filters.listener.original_dst.v3.OriginalDst'),
      },
    ],
    filter_chains: [
      { filters: [proxy], ...(transport === undefined ? {} : { transport_socket: transport }) },
    ],
  };
}

/** The bootstrap of one Envoy with these listeners and clusters, and no admin port. */
export function bootstrap(listeners: readonly Config[], clusters: readonly Config[]): string {
  return JSON.stringify({ static_resources: { listeners, clusters } }, null, 2);
}

/** The sidecar in the client's pod: captured plaintext in, mutual TLS out. */
export function clientSidecar(identity: SidecarIdentity, resume: boolean): string {
  return bootstrap(
    [listener('outbound', sidecarPorts.outbound, 'peer')],
    [originalDestination('peer', clientTls(identity, { resume }))],
  );
}

/** The sidecar in the server's pod: mutual TLS in, plaintext to the application. */
export function serverSidecar(identity: SidecarIdentity, resume: boolean): string {
  return bootstrap(
    [listener('inbound', sidecarPorts.inbound, 'application', serverTls(identity, { resume }))],
    [originalDestination('application')],
  );
}

/** The nftables rules that capture a pod for its sidecar. */
export function captureRules(end: 'client' | 'server'): string {
  const outbound = `chain outbound {
    type nat hook output priority -100; policy accept;
    meta mark ${sidecarMark} accept
    fib daddr type local accept
    meta l4proto tcp redirect to :${sidecarPorts.outbound}
  }`;
  const inbound = `chain inbound {
    type nat hook prerouting priority dstnat; policy accept;
    iifname "lo" accept
    meta l4proto tcp redirect to :${sidecarPorts.inbound}
  }`;
  return `table inet sidecar {\n  ${end === 'client' ? outbound : inbound}\n}\n`;
}
