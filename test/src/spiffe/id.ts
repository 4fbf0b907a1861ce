// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import {
  formatSpiffeId,
  isTrustDomain,
  nodeOf,
  nodeSpiffeId,
  parseSpiffeId,
  spiffeIdBytesMax,
  trustDomainBytesMax,
  workloadOf,
  workloadSpiffeId,
} from '../../../src/spiffe/id.ts';

t.test('takes what the standard allows', async (t) => {
  const good: [string, string, string][] = [
    ['spiffe://cluster.local', 'cluster.local', ''],
    ['spiffe://cluster.local/ns/a/sa/b', 'cluster.local', '/ns/a/sa/b'],
    ['SPIFFE://Cluster.Local/Ns', 'cluster.local', '/Ns'],
    ['spiffe://a-b_c.1/9.._-', 'a-b_c.1', '/9.._-'],
    ['spiffe://a/...', 'a', '/...'],
  ];
  for (const [text, trustDomain, path] of good) {
    t.match(parseSpiffeId(text), { ok: true, value: { trustDomain, path } }, text);
  }
});

t.test('refuses what the standard forbids', async (t) => {
  const bad = [
    '',
    'spiffe://',
    'spiffe:///ns/a',
    'https://cluster.local/ns/a',
    'spiffe:/cluster.local/a',
    'spiffe://cluster.local/',
    'spiffe://cluster.local/ns/',
    'spiffe://cluster.local//ns',
    'spiffe://cluster.local/./a',
    'spiffe://cluster.local/a/..',
    'spiffe://cluster.local:443/a',
    'spiffe://user@cluster.local/a',
    'spiffe://cluster.local/%61',
    'spiffe://cluster.local/a?b',
    'spiffe://cluster.local/a#b',
    'spiffe://cluster.local?a',
    'spiffe://cl\u00fcster/a',
    'spiffe://cluster.local/a b',
    'spiffe://cluster.local/a\n',
    'spiffe://cluster.local\n',
    ' spiffe://cluster.local/a',
  ];
  for (const text of bad) {
    t.match(parseSpiffeId(text), { ok: false, error: { code: 'invalid' } }, JSON.stringify(text));
  }
});

t.test('holds the length limits at their edge', async (t) => {
  const fill = 'spiffe://a/';
  const longest = fill + 'x'.repeat(spiffeIdBytesMax - fill.length);
  t.equal(parseSpiffeId(longest).ok, true);
  t.equal(parseSpiffeId(`${longest}x`).ok, false);
  t.equal(isTrustDomain('a'.repeat(trustDomainBytesMax)), true);
  t.equal(isTrustDomain('a'.repeat(trustDomainBytesMax + 1)), false);
  t.equal(isTrustDomain('Cluster.local'), false, 'the lower-case form is the only one');
});

t.test('makes and reads the two shapes that mean something', async (t) => {
  const workload = { namespace: 'demo', serviceAccount: 'client' };
  const id = workloadSpiffeId('cluster.local', workload);
  t.equal(formatSpiffeId(id), 'spiffe://cluster.local/ns/demo/sa/client');
  t.same(workloadOf(id), workload);
  t.equal(nodeOf(id), undefined);
  const node = nodeSpiffeId('cluster.local', 'a');
  t.equal(formatSpiffeId(node), 'spiffe://cluster.local/node/a');
  t.equal(nodeOf(node), 'a');
  t.equal(workloadOf(node), undefined);
});

t.test('gives no meaning to a path that only begins like one of them', async (t) => {
  const paths = ['', '/ns/a', '/ns/a/sa', '/ns/a/sa/b/c', '/ns/a/xx/b', '/node', '/node/a/b'];
  for (const path of paths) {
    t.equal(workloadOf({ trustDomain: 'a', path }), undefined, path);
    t.equal(nodeOf({ trustDomain: 'a', path }), undefined, path);
  }
});
