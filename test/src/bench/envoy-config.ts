// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { captureRules, clientSidecar, serverSidecar } from '../../../src/bench/envoy-config.ts';

const identity = {
  chainFile: '/svid/chain.pem',
  keyFile: '/svid/key.pem',
  rootFile: '/svid/root.pem',
  peer: 'spiffe://cluster.local/ns/bench/sa/other',
};

const commonTls = {
  tls_params: {
    tls_minimum_protocol_version: 'TLSv1_3',
    tls_maximum_protocol_version: 'TLSv1_3',
  },
  validation_context: {
    trusted_ca: { filename: identity.rootFile },
    match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: identity.peer } }],
  },
};

t.test('the client dials the original destination in mutual TLS 1.3', async (t) => {
  const { static_resources: resources } = JSON.parse(clientSidecar(identity, false));
  t.match(resources.listeners, [{ address: { socket_address: { port_value: 15001 } } }]);
  t.match(resources.clusters, [
    {
      type: 'ORIGINAL_DST',
      transport_socket: { typed_config: { common_tls_context: commonTls, max_session_keys: 0 } },
    },
  ]);
});

t.test('the server demands a certificate and dials the application in plaintext', async (t) => {
  const { static_resources: resources } = JSON.parse(serverSidecar(identity, false));
  const [chain] = resources.listeners[0].filter_chains;
  t.match(chain.transport_socket.typed_config, {
    common_tls_context: commonTls,
    require_client_certificate: true,
    disable_stateless_session_resumption: true,
  });
  t.equal(resources.clusters[0].transport_socket, undefined);
});

t.test('sessions are resumed when that is asked for', async (t) => {
  const client = JSON.parse(clientSidecar(identity, true)).static_resources;
  t.match(client.clusters[0].transport_socket.typed_config, { max_session_keys: 256 });
  const server = JSON.parse(serverSidecar(identity, true)).static_resources;
  const [chain] = server.listeners[0].filter_chains;
  t.equal(chain.transport_socket.typed_config.disable_stateless_session_resumption, false);
});

t.test('each end is captured in its own direction', async (t) => {
  t.match(captureRules('client'), /hook output[\s\S]+meta mark 1337 accept[\s\S]+:15001/);
  t.match(captureRules('server'), /hook prerouting[\s\S]+:15006/);
  t.notMatch(captureRules('server'), /hook output/);
});
