// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { envoySidecar } from '../../../../src/bench/sidecars/envoy-config.ts';

const identity = {
  chainFile: '/svid/chain.pem',
  keyFile: '/svid/key.pem',
  rootFile: '/svid/root.pem',
  peer: { prefix: 'spiffe://cluster.local/ns/bench/sa/' },
};

const commonTls = {
  tls_params: {
    tls_minimum_protocol_version: 'TLSv1_3',
    tls_maximum_protocol_version: 'TLSv1_3',
  },
  validation_context: {
    trusted_ca: { filename: identity.rootFile },
    match_typed_subject_alt_names: [{ san_type: 'URI', matcher: identity.peer }],
  },
};

const parsed = (reads: 'tcp' | 'http', resume = false) =>
  JSON.parse(envoySidecar(identity, reads, resume)).static_resources;

t.test('captured connections leave for where they were going in mutual TLS 1.3', async (t) => {
  const { listeners, clusters } = parsed('tcp');
  t.match(listeners[0], { address: { socket_address: { port_value: 15001 } } });
  t.match(clusters[0], {
    type: 'ORIGINAL_DST',
    transport_socket: { typed_config: { common_tls_context: commonTls, max_session_keys: 0 } },
  });
});

t.test('what comes in needs a certificate and goes to the application in plaintext', async (t) => {
  const { listeners, clusters } = parsed('tcp');
  t.match(listeners[1], { address: { socket_address: { port_value: 15006 } } });
  t.match(listeners[1].filter_chains[0].transport_socket.typed_config, {
    common_tls_context: commonTls,
    require_client_certificate: true,
    disable_stateless_session_resumption: true,
  });
  t.equal(clusters[1].transport_socket, undefined);
});

t.test('sessions are kept at both ends when they may be', async (t) => {
  const { listeners, clusters } = parsed('tcp', true);
  t.match(clusters[0].transport_socket.typed_config, { max_session_keys: 256 });
  const { typed_config: server } = listeners[1].filter_chains[0].transport_socket;
  t.match(server, { disable_stateless_session_resumption: false });
});

t.test('as HTTP, requests share HTTP/2 connections between the sidecars', async (t) => {
  const { listeners, clusters } = parsed('http');
  const name = 'envoy.filters.network.http_connection_manager';
  t.ok(
    listeners.every((each: { filter_chains: [{ filters: [{ name: string }] }] }) => {
      return each.filter_chains[0].filters[0].name === name;
    }),
  );
  const [options] = Object.values(clusters[0].typed_extension_protocol_options);
  t.match(options, { explicit_http_config: { http2_protocol_options: {} } });
  t.notOk(clusters[1].typed_extension_protocol_options, 'the application is asked as ever');
});

t.test('no circuit breaker is in the way', async (t) => {
  const { clusters } = parsed('http');
  for (const { circuit_breakers } of clusters) {
    const { max_connections, max_pending_requests, max_requests } = circuit_breakers.thresholds[0];
    t.ok(Math.min(max_connections, max_pending_requests, max_requests) >= 1_000_000);
  }
});
