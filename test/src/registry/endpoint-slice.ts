// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { endpointSliceReaders } from '../../../src/registry/endpoint-slice.ts';
import { ip } from '../../support/mesh-objects.ts';

const apiVersion = 'discovery.k8s.io/v1';
const labels = { 'kubernetes.io/service-name': 'web' };

function read(rest: object, own: object = labels) {
  const manifest = {
    apiVersion,
    kind: 'EndpointSlice',
    metadata: { name: 'x', namespace: 'demo', labels: own },
    addressType: 'IPv4',
    ...rest,
  };
  const result = endpointSliceReaders[`${apiVersion}/EndpointSlice`]?.(manifest);
  if (result === undefined) {
    throw new Error('no reader');
  }
  return result;
}

const complaintsAt = (result: ReturnType<typeof read>) =>
  result.ok ? [] : result.problems.map(({ path }) => path.join('.'));

t.test('a slice is read with its TCP ports, endpoints and pods', async (t) => {
  const endpoints = [
    { addresses: ['10.0.0.1', '10.0.0.1'], targetRef: { kind: 'Pod', name: 'p' }, nodeName: 'a' },
    { addresses: ['10.0.0.2'], conditions: { ready: false, serving: true }, zone: 'z' },
    { addresses: ['10.0.0.3'], targetRef: { kind: 'Node', name: 'a' } },
  ];
  const ports = [{ name: 'http', port: 80 }, { port: 53, protocol: 'UDP' }, {}];
  const none = { pod: undefined, node: '', zone: '', ready: true };
  t.match(read({ endpoints, ports }), {
    object: {
      kind: 'EndpointSlice',
      value: {
        namespace: 'demo',
        name: 'x',
        service: 'web',
        ports: [
          { name: 'http', port: 80 },
          { name: '', port: undefined },
        ],
        endpoints: [
          { ...none, addresses: [ip('10.0.0.1')], pod: 'p', node: 'a' },
          { ...none, addresses: [ip('10.0.0.2')], ready: false, zone: 'z' },
          { ...none, addresses: [ip('10.0.0.3')] },
        ],
      },
    },
  });
});

t.test('what is wrong with a slice is named', async (t) => {
  t.same(complaintsAt(read({}, {})), ['metadata.labels.kubernetes.io/service-name']);
  t.same(complaintsAt(read({ addressType: 'FQDN' })), ['addressType']);
  const endpoints = [{ addresses: ['fd00::1'] }, { addresses: ['10.0.0.1'] }];
  t.same(complaintsAt(read({ endpoints })), ['endpoints.0.addresses']);
  t.same(complaintsAt(read({ endpoints, addressType: 'IPv6' })), ['endpoints.1.addresses']);
  t.same(complaintsAt(read({ endpoints: [{ addresses: [] }] })), ['endpoints.0.addresses']);
  t.same(complaintsAt(read({ ports: [{ port: 0 }] })), ['ports.0.port']);
});
