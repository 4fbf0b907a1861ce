// SPDX-License-Identifier: Apache-2.0
// The bytes are held to the field numbers of Istio's service by hand.
import t from 'tap';
import {
  certificateRequest,
  certificateResponse,
  createCertificateMethod,
  impersonatedIdentityOf,
} from '../../../src/ca/wire.ts';

const { path, requestDeserialize, requestSerialize, responseDeserialize, responseSerialize } =
  createCertificateMethod;

t.test("the method is that of Istio's CA, one answer to one request", async (t) => {
  t.equal(path, '/istio.v1.auth.IstioCertificateService/CreateCertificate');
  t.notOk(createCertificateMethod.requestStream || createCertificateMethod.responseStream);
});

t.test('a request has the bytes that the protocol says', async (t) => {
  const request = certificateRequest({ csrPem: 'c', validitySeconds: 60.9 });
  // csr = 1, validity_duration = 3
  const bytes = Buffer.from('0a0163' + '183c', 'hex');
  t.same(requestSerialize(request), bytes);
  t.same(requestDeserialize(bytes), request);
  t.equal(impersonatedIdentityOf(request), undefined);
});

t.test('the identity a node acts for travels as a string of the metadata', async (t) => {
  const impersonatedIdentity = 'spiffe://td/ns/demo/sa/web';
  const request = certificateRequest({ csrPem: 'c', validitySeconds: 1, impersonatedIdentity });
  const read = requestDeserialize(requestSerialize(request));
  t.equal(impersonatedIdentityOf(read), impersonatedIdentity);
  t.same(read.metadata, { ImpersonatedIdentity: impersonatedIdentity });
});

t.test('an identity of another type than a string is none', async (t) => {
  const request = certificateRequest({ csrPem: 'c', validitySeconds: 1 });
  for (const value of [7, true, null, ['x'], { x: 'y' }]) {
    request.metadata = { ImpersonatedIdentity: value };
    t.equal(impersonatedIdentityOf(requestDeserialize(requestSerialize(request))), undefined);
  }
});

t.test('the answer is the chain, in order', async (t) => {
  const bytes = responseSerialize(certificateResponse(['leaf', 'root']));
  // cert_chain = 1, repeated
  t.same(bytes, Buffer.from('0a046c656166' + '0a04726f6f74', 'hex'));
  t.match(responseDeserialize(bytes), { certChain: ['leaf', 'root'] });
});
