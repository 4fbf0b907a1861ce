// SPDX-License-Identifier: Apache-2.0
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { EmptySchema } from '@bufbuild/protobuf/wkt';
import t from 'tap';
import { PolicyAction, PolicyScope } from '../../native/gen/tables_pb.js';
import {
  type Authorization,
  AuthorizationAction,
  AuthorizationSchema,
  AuthorizationScope,
} from '../../src/xds/wire.ts';
import { parseTablePolicy, standInOf } from '../../ztunnel/translate-policy.ts';

type Init = MessageInitShape<typeof AuthorizationSchema>;

function policy(change: Init = {}): Authorization {
  return create(AuthorizationSchema, {
    name: 'p',
    namespace: 'demo',
    scope: AuthorizationScope.NAMESPACE,
    ...change,
  } as Init);
}

function withMatch(match: object): Authorization {
  return policy({ rules: [{ clauses: [{ matches: [match] }] }] });
}

function withUnknownField(): Authorization {
  const wire = withMatch({});
  for (const match of wire.rules[0]?.clauses[0]?.matches ?? []) {
    match.$unknown = [{ no: 13, wireType: 2, data: new Uint8Array([1, 65]) }];
  }
  return wire;
}

t.test('a policy keeps rules, clauses and every kind of match', async (t) => {
  const range = { address: new Uint8Array([10, 0, 0, 0]), length: 8 };
  const accounts = [{ namespace: 'demo', serviceAccount: 'client' }];
  const match = {
    namespaces: [{ matchType: { case: 'exact' as const, value: 'a' } }],
    notNamespaces: [{ matchType: { case: 'prefix' as const, value: 'b' } }],
    principals: [{ matchType: { case: 'suffix' as const, value: 'c' } }],
    notPrincipals: [{ matchType: { case: 'presence' as const, value: create(EmptySchema) } }],
    sourceIps: [range],
    notSourceIps: [range],
    destinationIps: [range],
    notDestinationIps: [range],
    destinationPorts: [80],
    notDestinationPorts: [443],
    serviceAccounts: accounts,
    notServiceAccounts: accounts,
  };
  const wire = policy({
    scope: AuthorizationScope.WORKLOAD_SELECTOR,
    action: AuthorizationAction.DENY,
    rules: [{ clauses: [{ matches: [match] }, {}] }, {}],
    dryRun: true,
  });
  const parsed = parseTablePolicy(wire);
  t.same(parsed, {
    ok: true,
    value: {
      key: 'demo/p',
      namespace: 'demo',
      scope: PolicyScope.SCOPE_WORKLOAD,
      action: PolicyAction.ACTION_DENY,
      dryRun: true,
      rules: [
        {
          clauses: [
            {
              matches: [
                {
                  namespaces: [{ match: { case: 'exact', value: 'a' } }],
                  notNamespaces: [{ match: { case: 'prefix', value: 'b' } }],
                  principals: [{ match: { case: 'suffix', value: 'c' } }],
                  notPrincipals: [{ match: { case: 'presence', value: true } }],
                  sourceIps: [range],
                  notSourceIps: [range],
                  destinationIps: [range],
                  notDestinationIps: [range],
                  destinationPorts: [80],
                  notDestinationPorts: [443],
                  serviceAccounts: [{ namespace: 'demo', name: 'client' }],
                  notServiceAccounts: [{ namespace: 'demo', name: 'client' }],
                },
              ],
            },
            { matches: [] },
          ],
        },
        { clauses: [] },
      ],
    },
  });
});

t.test('a global policy may stand in no namespace', async (t) => {
  const parsed = parseTablePolicy(policy({ namespace: '', scope: AuthorizationScope.GLOBAL }));
  t.match(parsed, { ok: true, value: { key: '/p', scope: PolicyScope.SCOPE_GLOBAL } });
});

const refused: readonly [string, Authorization, RegExp][] = [
  ['no name', policy({ name: '' }), /policy name is missing/],
  ['no namespace', policy({ namespace: '' }), /namespace is missing/],
  ['an unknown scope', policy({ scope: 7 as AuthorizationScope }), /scope 7/],
  ['an unknown action', policy({ action: 7 as AuthorizationAction }), /action 7/],
  ['a string match of no known kind', withMatch({ principals: [{}] }), /of no kind/],
  ['an address of 3 bytes', withMatch({ sourceIps: [{ address: new Uint8Array(3) }] }), /3 bytes/],
  [
    'an IPv4 range of /33',
    withMatch({ notSourceIps: [{ address: new Uint8Array(4), length: 33 }] }),
    /length 33/,
  ],
  ['port 0', withMatch({ destinationPorts: [0] }), /port 0/],
  ['port 65536', withMatch({ notDestinationPorts: [65_536] }), /port 65536/],
  ['an unknown field of a match', withUnknownField(), /does not know/],
];

for (const [what, wire, message] of refused) {
  t.test(`refuses ${what} instead of dropping it`, async (t) => {
    t.match(parseTablePolicy(wire), { ok: false, error: { code: 'invalid', message } });
  });
}

t.test('a stand-in keeps scope and kind, and denies', async (t) => {
  const deny = { action: PolicyAction.ACTION_DENY, rules: [{ clauses: [] }] };
  t.same(standInOf('demo/p', policy()), {
    key: 'demo/p',
    namespace: 'demo',
    scope: PolicyScope.SCOPE_NAMESPACE,
    action: PolicyAction.ACTION_ALLOW,
    rules: [],
  });
  t.match(standInOf('demo/p', policy({ action: AuthorizationAction.DENY })), deny);
  t.match(standInOf('demo/p', policy({ action: 7 as AuthorizationAction })), deny);
  t.match(standInOf('demo/p', undefined), { ...deny, scope: PolicyScope.SCOPE_NAMESPACE });
  t.match(standInOf('p', undefined), { ...deny, scope: PolicyScope.SCOPE_GLOBAL });
  const global = policy({ scope: AuthorizationScope.GLOBAL });
  t.match(standInOf('root/p', global), { scope: PolicyScope.SCOPE_GLOBAL });
});

t.test('no stand-in where nothing would be let through', async (t) => {
  t.equal(standInOf('demo/p', policy({ dryRun: true })), undefined);
  const selector = policy({ scope: AuthorizationScope.WORKLOAD_SELECTOR });
  t.equal(standInOf('demo/p', selector), undefined);
});
