// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { checkDigest, manifestOf, parseLock } from '../../scripts/sources.ts';
import { root } from '../../scripts/steps.ts';

const digest = 'ab'.repeat(32);

t.test('the lock file of the project is readable and pins what is linked', async (t) => {
  const sources = parseLock(readFileSync(join(root, 'native/deps/sources.lock'), 'utf8'));
  const names = sources.map(({ name }) => name).sort();
  t.same(names, ['aws-lc-sys', 'libbpf-sys', 'libnghttp2-sys']);
});

t.test('comments and empty lines are skipped', async (t) => {
  const sources = parseLock(`# head\n\nsome-lib  1.2.3+4.5.6 ${digest}\n`);
  t.same(sources, [{ name: 'some-lib', version: '1.2.3+4.5.6', sha256: digest }]);
});

const bad: Readonly<Record<string, string>> = {
  'a missing digest': 'lib 1.0.0\n',
  'a short digest': `lib 1.0.0 ${digest.slice(1)}\n`,
  'a digest in capitals': `lib 1.0.0 ${digest.toUpperCase()}\n`,
  'a version range': `lib ^1.0.0 ${digest}\n`,
  'a name that is a path': `../lib 1.0.0 ${digest}\n`,
  'one field too many': `lib 1.0.0 ${digest} x\n`,
  'a name listed twice': `lib 1.0.0 ${digest}\nlib 1.0.1 ${digest}\n`,
};
for (const [what, text] of Object.entries(bad)) {
  t.test(`${what} is refused with its line`, async (t) => {
    t.throws(() => parseLock(text), { code: 'invalid', message: /^sources\.lock:\d+: / });
  });
}

t.test('the manifest asks for exact versions without build metadata', async (t) => {
  const manifest = manifestOf([{ name: 'some-lib', version: '1.2.3+4.5.6', sha256: digest }]);
  t.match(manifest, 'some-lib = { version = "=1.2.3", default-features = false }');
});

t.test('a source with another digest is refused, and so is one without', async (t) => {
  const source = { name: 'some-lib', version: '1.2.3', sha256: digest };
  t.doesNotThrow(() => checkDigest(source, JSON.stringify({ files: {}, package: digest })));
  const other = JSON.stringify({ package: 'cd'.repeat(32) });
  t.throws(() => checkDigest(source, other), { code: 'denied', message: /locked is abab/ });
  t.throws(() => checkDigest(source, '{}'), { code: 'denied' });
});
