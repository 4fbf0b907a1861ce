// SPDX-License-Identifier: Apache-2.0
// The bytes are held to the field numbers of the protocol by hand, not by the code under test.
import { create, toBinary } from '@bufbuild/protobuf';
import t from 'tap';
import {
  AddressSchema,
  AuthorizationSchema,
  deltaMethod,
  deltaRequest,
  parseAddress,
  parseAuthorization,
  typeOrder,
  typeUrls,
} from '../../../src/xds/wire.ts';

t.test('the method is that of Envoy, a stream both ways', async (t) => {
  t.match(deltaMethod, {
    path: '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources',
    requestStream: true,
    responseStream: true,
  });
});

t.test('a request has the bytes that the protocol says', async (t) => {
  const request = deltaRequest({ node: { id: 'n' }, typeUrl: 'u', responseNonce: '7' });
  // node = 1 with id = 1, type_url = 2, response_nonce = 6
  const bytes = Buffer.from('0a030a016e12017532' + '0137', 'hex');
  t.same(deltaMethod.requestSerialize(request), bytes);
  t.same(deltaMethod.requestDeserialize(bytes), request);
});

t.test('a response is read and written', async (t) => {
  // system_version_info = 1, resources = 2 with name = 3 and version = 1, nonce = 5,
  // removed_resources = 6
  const bytes = Buffer.from('0a0139' + '12060a01321a0161' + '2a0137' + '320162', 'hex');
  const response = deltaMethod.responseDeserialize(bytes);
  t.match(response, {
    systemVersionInfo: '9',
    resources: [{ name: 'a', version: '2' }],
    nonce: '7',
    removedResources: ['b'],
  });
  t.same(deltaMethod.responseSerialize(response), bytes);
});

t.test('trust comes before policies, and policies before what they protect', async (t) => {
  const { meshConfig, trustBundle, authorization, address } = typeUrls;
  t.same(typeOrder, [meshConfig, trustBundle, authorization, address]);
});

t.test('bodies are parsed to a result, whatever they are', async (t) => {
  const address = create(AddressSchema, { type: { case: 'workload', value: { uid: 'x' } } });
  t.match(parseAddress(toBinary(AddressSchema, address)), { ok: true, value: address });
  const policy = create(AuthorizationSchema, { name: 'p', namespace: 'demo' });
  t.match(parseAuthorization(toBinary(AuthorizationSchema, policy)), { ok: true, value: policy });
  // A length that leads past the end, a field number 0, a group that is never closed.
  for (const hex of ['0aff', '00', '0b', 'ffffffffffffffffffffff']) {
    for (const parse of [parseAddress, parseAuthorization]) {
      t.match(parse(Buffer.from(hex, 'hex')), { ok: false, error: { code: 'invalid' } }, hex);
    }
  }
});
