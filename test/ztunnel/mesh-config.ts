// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf';
import t from 'tap';
import { createLog } from '../../src/lib/log.ts';
import type { MeshConfig } from '../../src/lib/pod-settings.ts';
import { MeshConfigSchema, typeUrls } from '../../src/xds/wire.ts';
import { MeshConfigFollower } from '../../ztunnel/mesh-config.ts';

function follow() {
  const told: MeshConfig[] = [];
  const follower = new MeshConfigFollower((config) => told.push(config), createLog('t', 'silent'));
  const update = (
    entries: readonly [string, { capture?: string; sameNode?: string }][],
    removed: readonly string[] = [],
    broken: readonly string[] = [],
  ) => {
    const changed = new Map(entries.map(([name, init]) => [name, create(MeshConfigSchema, init)]));
    return follower.update({ type: typeUrls.meshConfig, changed, removed, broken });
  };
  return { told, update };
}

t.test('it is told what counts, also that nothing does', async (t) => {
  const { told, update } = follow();
  t.equal(update([]).size, 0);
  update([['default', { sameNode: 'tunnel' }]]);
  update([['default', { capture: 'nft', sameNode: 'direct' }]]);
  update([], ['default']);
  t.match(told, [
    { capture: undefined, sameNode: undefined },
    { capture: undefined, sameNode: 'tunnel' },
    { capture: 'nft', sameNode: 'direct' },
    { capture: undefined, sameNode: undefined },
  ]);
});

t.test('what cannot be read is refused, and the last good one stays', async (t) => {
  const { told, update } = follow();
  update([['default', { sameNode: 'tunnel' }]]);
  const refused = update([['default', { sameNode: 'by air', capture: 'nft' }]]);
  t.same([...refused], [['default', 'sameNode is by air, not one of direct, tunnel']]);
  update([], [], ['default']);
  t.equal(told.length, 1);
  t.same(
    [
      ...update([
        ['default', {}],
        ['other', {}],
      ]).keys(),
    ],
    ['other'],
    'there is one',
  );
});
