// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import type { MeshObject } from '../../../src/mesh/objects.ts';
import { Ledger } from '../../../src/registry/ledger.ts';
import { crossCheck } from '../../../src/registry/references.ts';
import { ip, meshOf, pod, service, serviceEntry, slice } from '../../support/mesh-objects.ts';
import { randomOf } from '../../support/mutate.ts';

const place = { file: 'f.yaml', line: 1 };
const agree = (objects: Iterable<MeshObject>) =>
  crossCheck(Array.from(objects, (object) => ({ object, place }))).length === 0;

const accounts = ['web', 'db'].map((name) => ({ namespace: 'demo', name }));
const base = meshOf({ ServiceAccount: accounts });

t.test('says no to what does not agree, and has then changed nothing', async (t) => {
  const ledger = new Ledger(base);
  const [x] = meshOf({ Namespace: [], Node: [], Pod: [pod()] });
  const [twin] = meshOf({ Namespace: [], Node: [], Pod: [pod({ name: 'y' })] });
  const [namespace] = base;
  if (x === undefined || twin === undefined || namespace === undefined) {
    throw new Error('no objects');
  }
  t.equal(ledger.change([], [x]), true);
  t.equal(ledger.change([], [twin]), false, 'an address that is taken');
  t.equal(ledger.change([namespace], []), false, 'a namespace that is needed');
  t.equal(ledger.change([x], [twin]), true, 'in the place of the other');
  t.equal(ledger.change([twin, ...base], []), true, 'all at once');
});

t.test('agrees with the whole check, whatever the change', async (t) => {
  for (let seed = 1; seed <= 40; seed += 1) {
    const random = randomOf(seed);
    const below = (bound: number) => Math.floor(random() * bound);
    const name = () => `n${below(4)}`;
    const address = () => ip(`10.0.0.${below(6)}`);
    const make = (): MeshObject => {
      const [found] = meshOf(
        [
          {
            Pod: [pod({ name: name(), addresses: [address()], node: below(9) === 0 ? 'no' : 'a' })],
          },
          { Service: [service({ name: name(), addresses: [address()] })] },
          { EndpointSlice: [slice({ name: name(), service: name() })] },
          { ServiceEntry: [serviceEntry({ name: name(), hosts: [`${name()}.example`] })] },
          { ServiceAccount: [{ namespace: 'demo', name: name() }] },
          { Pod: [pod({ name: name(), addresses: [], serviceAccount: name() })] },
        ].map((listed) => ({ Namespace: [], Node: [], ...listed }))[below(6)] ?? {},
      );
      if (found === undefined) {
        throw new Error('nothing made');
      }
      return found;
    };
    const ledger = new Ledger(base);
    let objects = new Set(base);
    for (let turn = 0; turn < 60; turn += 1) {
      const removed = [...objects].filter(() => below(12) === 0);
      const added = Array.from({ length: below(3) }, make);
      const next = new Set([...objects].filter((object) => !removed.includes(object)));
      for (const object of added) {
        next.add(object);
      }
      const expected = agree(next);
      t.equal(ledger.change(removed, added), expected, `seed ${seed}, turn ${turn}`);
      objects = expected ? next : objects;
    }
  }
});
