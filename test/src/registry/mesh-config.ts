// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { meshConfigReaders } from '../../../src/registry/mesh-config.ts';

const apiVersion = 'weft.dev/v1alpha1';

function read(spec: unknown, name = 'default') {
  const reader = meshConfigReaders[`${apiVersion}/MeshConfig`];
  if (reader === undefined) {
    throw new Error('no reader');
  }
  return reader({ apiVersion, kind: 'MeshConfig', metadata: { name }, spec });
}

function complaintsOf(spec: unknown, name?: string): string[] {
  const result = read(spec, name);
  return result.ok
    ? []
    : result.problems.map(({ path, message }) => `${path.join('.')}: ${message}`);
}

t.test('what it says is taken, and the rest is left open', async (t) => {
  const spec = { capture: 'nft', sameNode: 'tunnel' };
  const value = { name: 'default', ...spec };
  t.same(read(spec), { ok: true, object: { kind: 'MeshConfig', value } });
  t.same(read({}), { ok: true, object: { kind: 'MeshConfig', value: { name: 'default' } } });
});

t.test('what cannot be meant is refused where it stands', async (t) => {
  t.same(complaintsOf({ sameNode: 'tunel' }), ['spec.sameNode: not one of direct, tunnel']);
  t.same(complaintsOf({ capture: 'auto' }), ['spec.capture: not one of ebpf, nft']);
  t.same(complaintsOf({ samenode: 'direct' }), ['spec.samenode: unknown field']);
  t.same(complaintsOf({}, 'other'), [
    'metadata.name: a mesh has one MeshConfig, whose name is default',
  ]);
});
