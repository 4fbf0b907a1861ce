// SPDX-License-Identifier: Apache-2.0
import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { decodeJwt, SignJWT, UnsecuredJWT } from 'jose';
import t, { type Test } from 'tap';
import { JoinTokens, mintJoinToken, tokenBytesMax } from '../../../src/ca/join-tokens.ts';

const now = new Date('2026-01-01T00:00:00Z');
const seconds = now.getTime() / 1000;
const order = { node: 'a', trustDomain: 'td', rootSha256: ['ab'], ttlSeconds: 60 };
const later = (after: number) => new Date(now.getTime() + 1000 * after);

async function open(t: Test) {
  const folder = join(t.testdir(), 'state');
  return { folder, tokens: await JoinTokens.open(folder, 'td', now) };
}

t.test('says what it was made for, and who may be trusted with it', async (t) => {
  const { folder, tokens } = await open(t);
  const token = await mintJoinToken(folder, order, now);
  const claims = decodeJwt(token);
  t.match(claims, {
    sub: 'a',
    aud: 'weft:td',
    iat: seconds,
    exp: seconds + 60,
    rootSha256: ['ab'],
  });
  t.match(await tokens.verify(token, now), {
    ok: true,
    value: { node: 'a', id: claims.jti, expires: seconds + 60 },
  });
  t.equal(statSync(join(folder, 'join-token.key')).mode & 0o777, 0o600);
});

t.test('passes until its last second', async (t) => {
  const { folder, tokens } = await open(t);
  const token = await mintJoinToken(folder, order, now);
  t.equal((await tokens.verify(token, later(59))).ok, true);
  t.match(await tokens.verify(token, later(60)), { ok: false, error: { code: 'denied' } });
});

t.test('refuses what it did not sign for itself', async (t) => {
  const { folder, tokens } = await open(t);
  const good = await mintJoinToken(folder, order, now);
  const claims = { ...decodeJwt(good) };
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const pem = readFileSync(join(folder, 'join-token.key'), 'utf8');
  const secret = new TextEncoder().encode(pem);
  const [header, payload] = good.split('.');
  const refused = [
    '',
    'x',
    'a.b.c',
    `${header}.${payload}.`,
    good.slice(0, -2),
    new UnsecuredJWT(claims).encode(),
    await new SignJWT(claims).setProtectedHeader({ alg: 'ES256' }).sign(privateKey),
    await new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).sign(secret),
    await mintJoinToken(folder, { ...order, trustDomain: 'other' }, now),
    good.padEnd(tokenBytesMax + 1, 'x'),
  ];
  for (const token of refused) {
    t.match(await tokens.verify(token, now), { ok: false, error: { code: 'denied' } });
  }
});

t.test('needs every claim', async (t) => {
  const { folder, tokens } = await open(t);
  const pem = readFileSync(join(folder, 'join-token.key'), 'utf8');
  const all = decodeJwt(await mintJoinToken(folder, order, now));
  for (const missing of ['sub', 'aud', 'jti', 'iat', 'exp']) {
    const claims = Object.fromEntries(Object.entries(all).filter(([key]) => key !== missing));
    const signer = new SignJWT(claims).setProtectedHeader({ alg: 'ES256' });
    const token = await signer.sign(createPrivateKey(pem));
    t.equal((await tokens.verify(token, now)).ok, false, `without ${missing}`);
  }
});

t.test('is used once, also by many at one time, and after a restart', async (t) => {
  const { folder, tokens } = await open(t);
  const verified = await tokens.verify(await mintJoinToken(folder, order, now), now);
  if (!verified.ok) {
    throw verified.error;
  }
  const claims = verified.value;
  const results = await Promise.all([1, 2, 3].map(() => tokens.redeem(claims, now)));
  t.same(results.filter(Boolean), [true]);
  const again = await JoinTokens.open(folder, 'td', now);
  t.equal(await again.redeem(claims, now), false);
});

t.test('is not used again once its mark may be forgotten', async (t) => {
  const { folder, tokens } = await open(t);
  const claimsOf = async (ttlSeconds: number) => {
    const token = await mintJoinToken(folder, { ...order, ttlSeconds }, now);
    const verified = await tokens.verify(token, now);
    if (!verified.ok) {
      throw verified.error;
    }
    return verified.value;
  };
  const first = await claimsOf(60);
  t.equal(await tokens.redeem(first, later(59)), true);
  // Another one, used after the end of the first, takes its mark away.
  t.equal(await tokens.redeem(await claimsOf(120), later(61)), true);
  t.equal(await tokens.redeem(first, later(61)), false);
  t.equal(
    await tokens.redeem(await claimsOf(60), later(60)),
    false,
    'expired since it was checked',
  );
});

t.test('is forgotten when it can no longer be shown', async (t) => {
  const { folder, tokens } = await open(t);
  const verified = await tokens.verify(await mintJoinToken(folder, order, now), now);
  if (verified.ok) {
    await tokens.redeem(verified.value, now);
  }
  const used = join(folder, 'used-tokens');
  t.equal(readdirSync(used).length, 1);
  await JoinTokens.open(folder, 'td', later(60));
  t.equal(readdirSync(used).length, 1, 'not before');
  await JoinTokens.open(folder, 'td', later(61));
  t.equal(readdirSync(used).length, 0);
});

t.test('counts as used for good when its mark cannot be read', async (t) => {
  const { folder, tokens } = await open(t);
  const verified = await tokens.verify(await mintJoinToken(folder, order, now), now);
  if (verified.ok) {
    writeFileSync(join(folder, 'used-tokens', verified.value.id), 'torn');
    const again = await JoinTokens.open(folder, 'td', later(1000));
    t.equal(await again.redeem(verified.value, now), false);
  }
});

t.test('cannot be made without the key of a control plane', async (t) => {
  await t.rejects(mintJoinToken(t.testdir(), order, now), { code: 'unavailable' });
});
