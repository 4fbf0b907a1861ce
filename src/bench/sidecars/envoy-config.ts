// SPDX-License-Identifier: Apache-2.0
// Configurations for Envoy as a sidecar: captured connections leave the client's pod in mutual TLS
// 1.3 and are opened again in the server's pod. Nothing but what that takes: no access log, no
// telemetry filters. One worker, as the mesh has; circuit breakers out of the way.
import { sidecarMark, sidecarPorts } from './capture.ts';

/** PEM files and names for one end. */
export interface SidecarIdentity {
  readonly chainFile: string;
  readonly keyFile: string;
  readonly rootFile: string;
  /** The SPIFFE ID that the other end must prove, or what it must begin with. */
  readonly peer: { readonly exact: string } | { readonly prefix: string };
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
      match_typed_subject_alt_names: [{ san_type: 'URI', matcher: identity.peer }],
    },
  };
}

/** TLS as the client. Sessions are not kept unless `resume`: each connection is a full handshake. */
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
function originalDestination(name: string, transport?: Config): Config {
  const most = {
    max_connections: 1_000_000,
    max_pending_requests: 1_000_000,
    max_requests: 1_000_000,
  };
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

/** HTTP/2 to the cluster's hosts, many requests on one connection. */
export const http2Upstream: Config = {
  ...typeOf('envoy.extensions.upstreams.http.v3.HttpProtocolOptions'),
  explicit_http_config: { http2_protocol_options: {} },
};

function tcpProxy(name: string, cluster: string): Config {
  return {
    name: 'envoy.filters.network.tcp_proxy',
    typed_config: {
      ...typeOf('envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'),
      stat_prefix: name,
      cluster,
    },
  };
}

function httpManager(name: string, cluster: string): Config {
  const route = { match: { prefix: '/' }, route: { cluster, timeout: '0s' } };
  return {
    name: 'envoy.filters.network.http_connection_manager',
    typed_config: {
      ...typeOf(
        'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
      ),
      stat_prefix: name,
      codec_type: 'AUTO',
      route_config: { virtual_hosts: [{ name, domains: ['*'], routes: [route] }] },
      http_filters: [
        {
          name: 'envoy.filters.http.router',
          typed_config: typeOf('envoy.extensions.filters.http.router.v3.Router'),
        },
      ],
    },
  };
}

function listener(name: string, port: number, filter: Config, transport?: Config): Config {
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
      { filters: [filter], ...(transport === undefined ? {} : { transport_socket: transport }) },
    ],
  };
}

/** The bootstrap of one Envoy with these listeners and clusters, and no admin port. */
export function bootstrap(listeners: readonly Config[], clusters: readonly Config[]): string {
  return JSON.stringify({ static_resources: { listeners, clusters } }, null, 2);
}

/**
 * The sidecar of a pod: captured plaintext goes out in mutual TLS, and what comes in by that goes to
 * the application. As `tcp` it is a byte pipe with a handshake for each connection; as `http` both
 * ends read HTTP, and requests share HTTP/2 connections between the sidecars. `resume` as for TLS.
 */
export function envoySidecar(
  identity: SidecarIdentity,
  reads: 'tcp' | 'http',
  resume: boolean,
): string {
  const filter = reads === 'tcp' ? tcpProxy : httpManager;
  const alpn = reads === 'tcp' ? [] : ['h2'];
  const upstream = {
    ...originalDestination('peer', clientTls(identity, { alpn, resume })),
    ...(reads === 'tcp'
      ? {}
      : {
          typed_extension_protocol_options: {
            'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': http2Upstream,
          },
        }),
  };
  return bootstrap(
    [
      listener('outbound', sidecarPorts.outbound, filter('outbound', 'peer')),
      listener(
        'inbound',
        sidecarPorts.inbound,
        filter('inbound', 'application'),
        serverTls(identity, { alpn, resume }),
      ),
    ],
    [upstream, originalDestination('application')],
  );
}
