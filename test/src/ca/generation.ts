// SPDX-License-Identifier: Apache-2.0
// What a generation signs, and given ones: test/src/ca/{authority,given-authority}.ts.
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { mayIssue } from '../../../src/ca/certificate.ts';
import {
  intermediateDays,
  makeGeneration,
  readGeneration,
  readRoot,
  removeGeneration,
  renewalOf,
  renewGeneration,
  rootYears,
} from '../../../src/ca/generation.ts';

const now = new Date('2030-01-01T00:00:00Z');
const dayMs = 86_400_000;

t.test('it has two files, for their owner only, and is read back from them', async (t) => {
  const folder = t.testdir();
  const made = await makeGeneration(folder, 'td', now);
  t.equal(made.root.validToDate.getUTCFullYear(), 2030 + rootYears);
  t.equal(made.signer.certificate.validToDate.getTime() - now.getTime(), intermediateDays * dayMs);
  t.ok(made.signer.certificate.verify(made.root.publicKey));
  t.ok(mayIssue(made.signer.certificate));
  t.same(readdirSync(folder).sort(), [`root-${made.id}.pem`, `signing-${made.id}.pem`]);
  for (const name of readdirSync(folder)) {
    t.equal(statSync(join(folder, name)).mode & 0o777, 0o600);
  }
  const again = await readGeneration(folder, made);
  t.equal(again.signer.certificate.fingerprint256, made.signer.certificate.fingerprint256);
  t.equal((await readRoot(folder, made.id)).fingerprint256, made.root.fingerprint256);
});

t.test('roots and intermediates have names of their own', async (t) => {
  const folder = t.testdir();
  const made = [await makeGeneration(folder, 'td', now), await makeGeneration(folder, 'td', now)];
  const subjects = made.flatMap(({ root, signer }) => [root.subject, signer.certificate.subject]);
  t.equal(new Set(subjects).size, 4);
});

t.test('it is renewed under the same root, and no intermediate outlives it', async (t) => {
  const folder = t.testdir();
  const made = await makeGeneration(folder, 'td', now);
  const half = renewalOf(made).getTime() - now.getTime();
  t.ok(Math.abs(half - (intermediateDays / 2) * dayMs) < 60_000);
  const late = new Date(made.root.validToDate.getTime() - dayMs);
  const renewed = await renewGeneration(folder, 'td', made, late);
  t.same(renewed.signer.certificate.validToDate, made.root.validToDate);
  t.not(renewed.signer.certificate.subject, made.signer.certificate.subject);
  t.equal(
    (await readGeneration(folder, made)).signer.certificate.serialNumber,
    renewed.signer.certificate.serialNumber,
  );
});

t.test('without the key of the root, and for a given one, there is no renewal', async (t) => {
  const folder = t.testdir();
  const made = await makeGeneration(folder, 'td', now);
  await t.rejects(renewGeneration(folder, 'td', { ...made, kind: 'given' }, now), {
    code: 'unsupported',
  });
  const path = join(folder, `root-${made.id}.pem`);
  const text = readFileSync(path, 'utf8');
  writeFileSync(path, text.slice(text.indexOf('-----BEGIN CERT')));
  await t.rejects(renewGeneration(folder, 'td', made, now), { code: 'unavailable' });
  t.ok(await readGeneration(folder, made));
});

t.test('it is removed with its keys, twice without harm', async (t) => {
  const folder = t.testdir();
  const made = await makeGeneration(folder, 'td', now);
  await removeGeneration(folder, made.id);
  await removeGeneration(folder, made.id);
  t.same(readdirSync(folder), []);
  await t.rejects(readGeneration(folder, made), { code: 'unavailable' });
});
