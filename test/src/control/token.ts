// SPDX-License-Identifier: Apache-2.0
// What it prints is read by a JWT library and by the CA's own check.
import { createHash, X509Certificate } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { decodeJwt } from 'jose';
import t, { type Test } from 'tap';
import { Authority } from '../../../src/ca/authority.ts';
import { JoinTokens } from '../../../src/ca/join-tokens.ts';
import { main, ttlSecondsMax } from '../../../src/control/token.ts';

async function stateOf(t: Test) {
  const state = join(t.testdir(), 'state');
  const { rootPem } = await Authority.open(state, 'td', new Date());
  await JoinTokens.open(state, 'td', new Date());
  return { state, rootPem };
}

/** Runs the verb and returns what it wrote to standard output. */
async function printed(t: Test, argv: readonly string[]): Promise<string> {
  const written: string[] = [];
  const capture = t.intercept(process.stdout, 'write', {
    value: (text: string) => written.push(text) > 0,
  });
  try {
    await main(argv);
  } finally {
    capture.restore();
  }
  return written.join('');
}

t.test('it prints one token that the control plane takes, once', async (t) => {
  const { state, rootPem } = await stateOf(t);
  const text = await printed(t, ['create', '--node', 'a', '--state', state, '--ttl', '60']);
  t.match(text, /^[\w-]+\.[\w-]+\.[\w-]+\n$/);
  const claims = decodeJwt(text.trim());
  const rootSha256 = createHash('sha256').update(new X509Certificate(rootPem).raw).digest('hex');
  t.match(claims, { sub: 'a', aud: 'weft:td', rootSha256: [rootSha256] });
  t.equal((claims.exp ?? 0) - (claims.iat ?? 0), 60);
  const tokens = await JoinTokens.open(state, 'td', new Date());
  const verified = await tokens.verify(text.trim(), new Date());
  t.match(verified, { ok: true, value: { node: 'a' } });
  if (verified.ok) {
    t.equal(await tokens.redeem(verified.value, new Date()), true);
    t.equal(await tokens.redeem(verified.value, new Date()), false);
  }
});

t.test('a token lasts ten minutes unless it is told', async (t) => {
  const { state } = await stateOf(t);
  const { exp = 0, iat = 0 } = decodeJwt(
    await printed(t, ['create', '--node', 'a', '--state', state]),
  );
  t.equal(exp - iat, 600);
});

t.test('names and times out of their limits are refused', async (t) => {
  const { state } = await stateOf(t);
  t.intercept(process.stderr, 'write', { value: () => true });
  const run = (node: string, ttl: string) =>
    main(['create', '--node', node, '--state', state, '--ttl', ttl]);
  for (const node of ['', 'A', '-a', 'a-', 'a/b', 'a b', 'x'.repeat(254)]) {
    await t.rejects(run(node, '60'), { code: 'commander.invalidArgument' }, node);
  }
  for (const ttl of ['0', '-1', '1.5', '1e3', '', `${ttlSecondsMax + 1}`, '9'.repeat(7)]) {
    await t.rejects(run('a', ttl), { code: 'commander.invalidArgument' }, ttl);
  }
  t.match(await printed(t, ['create', '--node', 'x'.repeat(253), '--state', state]), /\./);
  const longest = ['create', '--node', 'a', '--state', state, '--ttl', `${ttlSecondsMax}`];
  t.match(await printed(t, longest), /\./);
});

t.test('a folder that is no state folder is said, and nothing is made there', async (t) => {
  const folder = t.testdir({});
  await t.rejects(main(['create', '--node', 'a', '--state', folder]), { code: 'unavailable' });
  t.same(readdirSync(folder), []);
});
