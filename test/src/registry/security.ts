// SPDX-License-Identifier: Apache-2.0
// What a policy means is tested with src/mesh/policy; here, which manifests are read and which not.
import t from 'tap';
import { securityReaders } from '../../../src/registry/security.ts';

const apiVersion = 'security.istio.io/v1';

function read(spec: unknown, more: Record<string, unknown> = {}) {
  const manifest = {
    apiVersion,
    kind: 'AuthorizationPolicy',
    metadata: { name: 'p', namespace: 'demo' },
    ...(spec === undefined ? {} : { spec }),
    ...more,
  };
  const reader = securityReaders[`${manifest.apiVersion}/AuthorizationPolicy`];
  if (reader === undefined) {
    throw new Error(`no reader of ${manifest.apiVersion}`);
  }
  return reader(manifest);
}

function complaintsOf(spec: unknown): string[] {
  const result = read(spec);
  return result.ok
    ? []
    : result.problems.map(({ path, message }) => `${path.join('.')}: ${message}`);
}

const from = (...sources: object[]) => ({
  rules: [{ from: sources.map((source) => ({ source })) }],
});

t.test('a policy without a spec, or without rules, allows nobody', async (t) => {
  for (const spec of [undefined, {}, { rules: [] }]) {
    t.match(read(spec), {
      ok: true,
      object: {
        kind: 'AuthorizationPolicy',
        value: { namespace: 'demo', name: 'p', action: 'allow', rules: [], selector: undefined },
      },
    });
  }
});

t.test('both versions of the kind are the same', async (t) => {
  const spec = { action: 'DENY', ...from({ namespaces: ['x'] }) };
  const newer = read(spec);
  t.equal(newer.ok, true);
  t.same(read(spec, { apiVersion: 'security.istio.io/v1beta1' }), newer);
});

t.test('selector, action and dry run are taken over', async (t) => {
  const metadata = { name: 'p', namespace: 'demo', annotations: { 'istio.io/dry-run': 'true' } };
  const spec = { action: 'DENY', selector: { matchLabels: { app: 'x' } }, rules: [{}] };
  t.match(read(spec, { metadata }), {
    object: { value: { action: 'deny', selector: { app: 'x' }, dryRun: true } },
  });
  t.match(read(spec), { object: { value: { dryRun: false } } });
});

t.test('an action that cannot be enforced is refused, never weakened', async (t) => {
  for (const action of ['AUDIT', 'CUSTOM', 'allow', '']) {
    t.match(complaintsOf({ action }), [/^spec\.action: only ALLOW and DENY/], action);
  }
});

t.test('an empty list, source, operation or condition is a mistake', async (t) => {
  t.match(complaintsOf(from()), [/^spec\.rules\.0\.from: empty list/]);
  t.match(complaintsOf(from({ principals: [] })), [/from\.0\.source\.principals: empty list/]);
  t.match(complaintsOf(from({})), [/source: a source needs at least one field/]);
  t.match(complaintsOf({ rules: [{ to: [{ operation: {} }] }] }), [/an operation needs/]);
  t.match(complaintsOf({ rules: [{ when: [{ key: 'source.ip' }] }] }), [/a condition needs/]);
});

t.test('a field nobody knows is named, wherever it is', async (t) => {
  t.same(complaintsOf({ rule: [] }), ['spec.rule: unknown field']);
  t.same(complaintsOf({ rules: [{ form: [] }] }), ['spec.rules.0.form: unknown field']);
  t.same(
    complaintsOf(from({ principal: ['x'] })).at(0),
    'spec.rules.0.from.0.source.principal: unknown field',
  );
  t.match(complaintsOf({ targetRefs: [] }), [/^spec.targetRefs: .*not enforced at L4/]);
  t.match(complaintsOf({ targetRef: {} }), [/^spec.targetRef: .*not enforced at L4/]);
});

t.test('service accounts do not stand beside principals or namespaces', async (t) => {
  const accounts = { serviceAccounts: ['demo/x'] };
  t.same(complaintsOf(from(accounts)), []);
  for (const beside of ['principals', 'notPrincipals', 'namespaces', 'notNamespaces']) {
    const message = /service accounts cannot stand beside/;
    t.match(complaintsOf(from({ ...accounts, [beside]: ['x'] })), [message], beside);
  }
});

function readPeers(spec: unknown) {
  const kind = 'PeerAuthentication';
  const metadata = { name: 'p', namespace: 'demo' };
  return securityReaders[`${apiVersion}/${kind}`]?.({ apiVersion, kind, metadata, spec });
}

t.test('peers are asked for by mode, and by port where a selector says whose', async (t) => {
  t.match(readPeers({}), { object: { value: { mode: 'unset', selector: undefined } } });
  t.match(readPeers({ mtls: { mode: 'STRICT' } }), { object: { value: { mode: 'strict' } } });
  const selector = { matchLabels: { app: 'x' } };
  const portLevelMtls = { 80: { mode: 'DISABLE' }, '9000': {} };
  t.match(readPeers({ selector, mtls: {}, portLevelMtls }), {
    object: {
      kind: 'PeerAuthentication',
      value: {
        selector: { app: 'x' },
        mode: 'unset',
        ports: new Map([
          [80, 'disable'],
          [9000, 'unset'],
        ]),
      },
    },
  });
});

t.test('what is wrong with a PeerAuthentication is named', async (t) => {
  const selector = { matchLabels: {} };
  const cases: [object, string][] = [
    [{ portLevelMtls: { 80: { mode: 'STRICT' } } }, 'spec.portLevelMtls'],
    [{ selector, portLevelMtls: { 0: { mode: 'STRICT' } } }, 'spec.portLevelMtls.0'],
    [{ selector, portLevelMtls: { 65536: { mode: 'STRICT' } } }, 'spec.portLevelMtls.65536'],
    [{ mtls: { mode: 'strict' } }, 'spec.mtls.mode'],
    [{ mtls: 'STRICT' }, 'spec.mtls'],
    [{ mutual: {} }, 'spec.mutual'],
  ];
  for (const [spec, path] of cases) {
    const result = readPeers(spec);
    const paths = result?.ok === false ? result.problems.map((problem) => problem.path) : [];
    t.same(
      paths.map((parts) => parts.join('.')),
      [path],
      JSON.stringify(spec),
    );
  }
});
