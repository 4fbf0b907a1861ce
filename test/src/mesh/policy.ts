// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import {
  type PolicyManifest,
  type PolicySpecRule,
  translatePolicy,
} from '../../../src/mesh/policy.ts';

const manifest = (
  rules: readonly PolicySpecRule[],
  action: PolicyManifest['action'] = 'ALLOW',
): PolicyManifest => ({
  namespace: 'demo',
  name: 'p',
  selector: undefined,
  action,
  rules,
  dryRun: false,
});

/** The translated rules, or the problems as text. */
function translate(rules: readonly PolicySpecRule[], action?: PolicyManifest['action']): unknown {
  const result = translatePolicy(manifest(rules, action));
  return result.ok
    ? result.policy.rules
    : result.problems.map(({ path, message }) => `${path.join('.')}: ${message}`);
}

const from = (source: object): PolicySpecRule => ({ from: [{ source }] });

t.test('no rules stay no rules, and an empty rule has no clauses', async (t) => {
  t.same(translate([]), []);
  t.same(translate([{}]), [[]]);
});

t.test('from, to and each condition become one clause each', async (t) => {
  const rules = translate([
    {
      from: [{ source: { namespaces: ['a'] } }, { source: { principals: ['td/ns/b/sa/c'] } }],
      to: [{ operation: { ports: ['80', '443'], notPorts: ['8080'] } }],
      when: [
        { key: 'source.ip', values: ['10.0.0.0/8'], notValues: ['10.1.0.0/16'] },
        { key: 'destination.port', values: ['9090'] },
      ],
    },
  ]);
  t.same(rules, [
    [
      [
        { namespaces: [{ kind: 'exact', value: 'a' }] },
        { principals: [{ kind: 'exact', value: 'td/ns/b/sa/c' }] },
      ],
      [{ destinationPorts: [80, 443], notDestinationPorts: [8080] }],
      [
        {
          sourceIps: [{ address: Uint8Array.of(10, 0, 0, 0), length: 8 }],
          notSourceIps: [{ address: Uint8Array.of(10, 1, 0, 0), length: 16 }],
        },
      ],
      [{ destinationPorts: [9090] }],
    ],
  ]);
});

t.test('every L4 field of a source and every L4 condition is translated', async (t) => {
  const exact = (value: string) => [{ kind: 'exact', value }];
  const block = [{ address: Uint8Array.of(10, 0, 0, 1), length: 32 }];
  const account = [{ namespace: 'x', serviceAccount: 'y' }];
  const cases: [PolicySpecRule, object][] = [
    [from({ notPrincipals: ['a'] }), { notPrincipals: exact('a') }],
    [from({ notNamespaces: ['a'] }), { notNamespaces: exact('a') }],
    [from({ ipBlocks: ['10.0.0.1'] }), { sourceIps: block }],
    [from({ notIpBlocks: ['10.0.0.1'] }), { notSourceIps: block }],
    [from({ serviceAccounts: ['x/y'] }), { serviceAccounts: account }],
    [from({ notServiceAccounts: ['x/y'] }), { notServiceAccounts: account }],
    [{ when: [{ key: 'source.namespace', values: ['a'] }] }, { namespaces: exact('a') }],
    [{ when: [{ key: 'source.principal', notValues: ['a'] }] }, { notPrincipals: exact('a') }],
    [{ when: [{ key: 'source.serviceAccount', values: ['x/y'] }] }, { serviceAccounts: account }],
    [{ when: [{ key: 'destination.ip', values: ['10.0.0.1'] }] }, { destinationIps: block }],
  ];
  for (const [rule, match] of cases) {
    t.same(translate([rule]), [[[match]]], JSON.stringify(rule));
  }
});

t.test('a star is presence alone, a head or a tail', async (t) => {
  t.same(translate([from({ principals: ['*', 'a*', '*b', 'c'] })]), [
    [
      [
        {
          principals: [
            { kind: 'presence' },
            { kind: 'prefix', value: 'a' },
            { kind: 'suffix', value: 'b' },
            { kind: 'exact', value: 'c' },
          ],
        },
      ],
    ],
  ]);
});

t.test('a service account without a namespace is one of the own namespace', async (t) => {
  t.same(translate([from({ serviceAccounts: ['web', 'other/web'] })]), [
    [
      [
        {
          serviceAccounts: [
            { namespace: 'demo', serviceAccount: 'web' },
            { namespace: 'other', serviceAccount: 'web' },
          ],
        },
      ],
    ],
  ]);
});

t.test('values that cannot be matched are refused, each by its path', async (t) => {
  const bad: [PolicySpecRule, string][] = [
    [from({ principals: ['ok', 'a*b'] }), 'spec.rules.0.from.0.source.principals.1'],
    [from({ principals: ['*a*'] }), 'spec.rules.0.from.0.source.principals.0'],
    [from({ principals: ['**'] }), 'spec.rules.0.from.0.source.principals.0'],
    [from({ principals: ['spiffe://td/ns/a/sa/b'] }), 'spec.rules.0.from.0.source.principals.0'],
    [from({ ipBlocks: ['10.0.0.0/33'] }), 'spec.rules.0.from.0.source.ipBlocks.0'],
    [from({ serviceAccounts: ['a/b/c'] }), 'spec.rules.0.from.0.source.serviceAccounts.0'],
    [from({ serviceAccounts: ['*'] }), 'spec.rules.0.from.0.source.serviceAccounts.0'],
    [{ to: [{ operation: { ports: ['0'] } }] }, 'spec.rules.0.to.0.operation.ports.0'],
    [{ to: [{ operation: { ports: ['65536'] } }] }, 'spec.rules.0.to.0.operation.ports.0'],
    [{ to: [{ operation: { ports: ['http'] } }] }, 'spec.rules.0.to.0.operation.ports.0'],
    [{ when: [{ key: 'source.colour', values: ['red'] }] }, 'spec.rules.0.when.0.key'],
    [{ when: [{ key: 'source.ip', values: ['x'] }] }, 'spec.rules.0.when.0.values.0'],
  ];
  for (const [rule, path] of bad) {
    for (const action of ['ALLOW', 'DENY'] as const) {
      const text = translate([rule], action);
      t.match(text, [new RegExp(`^${path}: `)], `${action} ${JSON.stringify(rule)}`);
    }
  }
});

const l7: [string, PolicySpecRule][] = [
  ['requestPrincipals', from({ requestPrincipals: ['*'] })],
  ['notRequestPrincipals', from({ notRequestPrincipals: ['*'] })],
  ['remoteIpBlocks', from({ remoteIpBlocks: ['10.0.0.0/8'] })],
  ['notRemoteIpBlocks', from({ notRemoteIpBlocks: ['10.0.0.0/8'] })],
  ['hosts', { to: [{ operation: { hosts: ['a'] } }] }],
  ['notHosts', { to: [{ operation: { notHosts: ['a'] } }] }],
  ['methods', { to: [{ operation: { methods: ['GET'] } }] }],
  ['notMethods', { to: [{ operation: { notMethods: ['GET'] } }] }],
  ['paths', { to: [{ operation: { paths: ['/a'] } }] }],
  ['notPaths', { to: [{ operation: { notPaths: ['/a'] } }] }],
  ['a header', { when: [{ key: 'request.headers[x]', values: ['y'] }] }],
  ['a remote address', { when: [{ key: 'remote.ip', values: ['10.0.0.1'] }] }],
  ['a server name', { when: [{ key: 'connection.sni', values: ['a'] }] }],
];

t.test('an ALLOW rule that asks for HTTP allows nothing', async (t) => {
  for (const [name, rule] of l7) {
    t.same(translate([rule, {}]), [[]], name);
    const beside = { ...rule, when: [...(rule.when ?? []), { key: 'source.ip', values: ['::1'] }] };
    t.same(translate([beside]), [], `${name} beside an address`);
  }
});

t.test('a DENY rule with HTTP conditions alone is refused', async (t) => {
  for (const [name, rule] of l7) {
    t.match(translate([rule], 'DENY'), [/^spec.rules.0: .*waypoint/], name);
  }
});

t.test('a DENY rule keeps its TCP part, and so denies more', async (t) => {
  const namespaces = [{ kind: 'exact', value: 'a' }];
  t.same(
    translate(
      [
        {
          from: [{ source: { namespaces: ['a'], requestPrincipals: ['*'] } }],
          to: [{ operation: { methods: ['GET'], ports: ['80'] } }],
          when: [{ key: 'request.headers[x]', values: ['y'] }],
        },
      ],
      'DENY',
    ),
    [[[{ namespaces }], [{ destinationPorts: [80] }]]],
  );
  t.same(
    translate(
      [
        {
          from: [{ source: { namespaces: ['a'] } }],
          to: [{ operation: { methods: ['GET'] } }, { operation: { ports: ['80'] } }],
        },
      ],
      'DENY',
    ),
    [[[{ namespaces }]]],
    'a clause with an entry that always holds is dropped whole',
  );
});
