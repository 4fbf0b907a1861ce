// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { denyListReaders } from '../../../src/registry/deny-list.ts';

const apiVersion = 'weft.dev/v1alpha1';
const web = 'spiffe://cluster.local/ns/demo/sa/web';

function read(spec: unknown, more: Record<string, unknown> = {}) {
  const reader = denyListReaders[`${apiVersion}/DenyList`];
  if (reader === undefined) {
    throw new Error('no reader');
  }
  return reader({ apiVersion, kind: 'DenyList', metadata: { name: 'lost' }, spec, ...more });
}

function complaintsOf(spec: unknown): string[] {
  const result = read(spec);
  return result.ok
    ? []
    : result.problems.map(({ path, message }) => `${path.join('.')}: ${message}`);
}

t.test('identities and serial numbers are taken, each way that serials are printed', async (t) => {
  const serials = ['0A:BC:01', '0abc01', 'ABC01', '00', '4f'.repeat(20)];
  const value = {
    name: 'lost',
    identities: [web],
    serials: ['abc01', 'abc01', 'abc01', '0', '4f'.repeat(20)],
  };
  t.same(read({ identities: [web], serials }), { ok: true, object: { kind: 'DenyList', value } });
  t.match(read({}), { object: { value: { identities: [], serials: [] } } });
});

t.test('what cannot be meant is refused where it stands', async (t) => {
  for (const identity of ['web', 'spiffe://cluster.local', 'https://x/y', 'spiffe://UP ER/a']) {
    t.same(complaintsOf({ identities: [web, identity] }), [
      'spec.identities.1: not a SPIFFE ID with a path',
    ]);
  }
  for (const serial of ['', 'xyz', ':', 'ab:', '4f'.repeat(21)]) {
    t.same(complaintsOf({ serials: [serial] }), [
      'spec.serials.0: not a serial number in hexadecimal',
    ]);
  }
  t.same(complaintsOf({ names: [] }), ['spec.names: unknown field']);
  t.same(complaintsOf(undefined), ['spec: missing']);
});
