// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import type { PeerAuthentication } from '../../../src/mesh/objects.ts';
import { PeerRules, strictPolicy } from '../../../src/mesh/peer-authentication.ts';
import { peerAuthentication } from '../../support/mesh-objects.ts';

const labels = { app: 'web' };
const strict = 'root/istio_converted_static_strict';
const denied = { notPrincipals: [{ kind: 'presence' }] };

/** The rules of namespace `demo`. */
const rules = (...objects: PeerAuthentication[]) =>
  new PeerRules(
    objects.filter(({ namespace }) => namespace === 'demo'),
    objects.filter(({ namespace }) => namespace === 'root'),
    'root',
  );
const nameOf = (...objects: PeerAuthentication[]) => rules(...objects).policyOf({ labels });

const mesh = (mode: PeerAuthentication['mode']) => peerAuthentication({ namespace: 'root', mode });
const space = (mode: PeerAuthentication['mode']) => peerAuthentication({ mode });
const own = (
  mode: PeerAuthentication['mode'],
  ports: [number, PeerAuthentication['mode']][] = [],
) => peerAuthentication({ name: 'web', selector: labels, mode, ports: new Map(ports) });

t.test('the strict policy denies exactly the clients without an identity', async (t) => {
  t.same(strictPolicy('root'), {
    namespace: 'root',
    name: 'istio_converted_static_strict',
    selector: {},
    action: 'deny',
    rules: [[[denied]]],
    dryRun: false,
  });
});

t.test('the narrowest level that says anything decides', async (t) => {
  t.equal(nameOf(), undefined, 'permissive when nobody says anything');
  t.equal(nameOf(mesh('strict')), strict);
  t.equal(nameOf(mesh('strict'), space('permissive')), undefined);
  t.equal(nameOf(mesh('strict'), space('disable')), undefined);
  t.equal(nameOf(mesh('strict'), space('unset')), strict);
  t.equal(nameOf(mesh('permissive'), space('strict')), strict);
  t.equal(nameOf(space('strict'), own('permissive')), undefined);
  t.equal(nameOf(space('strict'), own('unset')), strict);
  t.equal(nameOf(own('strict')), strict);
  t.equal(nameOf(peerAuthentication({ selector: { app: 'other' } })), undefined, 'not selected');
});

t.test('ports that differ make a policy of their own', async (t) => {
  const name = 'demo/converted_peer_authentication_web';
  const converted = (...objects: PeerAuthentication[]) => {
    const last = objects.at(-1);
    return last && rules(...objects).convert(last)?.rules;
  };
  const open = own('strict', [
    [9000, 'permissive'],
    [80, 'disable'],
    [81, 'strict'],
  ]);
  t.equal(nameOf(open), name);
  t.same(converted(open), [[[denied], [{ notDestinationPorts: [80, 9000] }]]]);
  const closed = own('unset', [
    [9000, 'strict'],
    [80, 'unset'],
  ]);
  t.equal(nameOf(closed), name);
  t.same(converted(closed), [[[denied], [{ destinationPorts: [9000] }]]]);
  t.equal(nameOf(space('strict'), closed), strict, 'no port differs from what is inherited');
  t.equal(converted(space('strict'), closed), undefined);
  const inherits = own('unset', [[80, 'permissive']]);
  t.same(converted(mesh('strict'), inherits), [[[denied], [{ notDestinationPorts: [80] }]]]);
});

t.test('of several for the same workloads the first by name counts', async (t) => {
  const all = [space('permissive'), peerAuthentication({ name: 'a', mode: 'strict' })];
  t.equal(nameOf(...all), strict);
  t.equal(nameOf(...all.toReversed()), strict);
});
