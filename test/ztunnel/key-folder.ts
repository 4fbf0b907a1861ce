// SPDX-License-Identifier: Apache-2.0
import {
  chmodSync,
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { createLog } from '../../src/lib/log.ts';
import { clockSkewMs, KeyFolder } from '../../ztunnel/key-folder.ts';

const web = 'spiffe://td/ns/demo/sa/web';
const api = 'spiffe://td/ns/demo/sa/api';

function credentialOf(spiffeId: string, fromMs = -1_000, toMs = 60_000) {
  const bytes = (value: number) => new Uint8Array([value, value]);
  return {
    spiffeId,
    chain: [bytes(1)],
    key: bytes(7),
    roots: [bytes(3)],
    notBefore: new Date(Date.now() + fromMs),
    notAfter: new Date(Date.now() + toMs),
  };
}

function setUp(t: Test) {
  const base = mkdtempSync('/dev/shm/weft-keys-');
  t.teardown(() => rmSync(base, { recursive: true }));
  const reasons: string[] = [];
  const log = createLog('test', 'info', {
    write: (line) => void reasons.push(String(JSON.parse(line).reason)),
  });
  const path = join(base, 'keys');
  const folder = new KeyFolder(path, log);
  const files = () => readdirSync(path).map((name) => join(path, name));
  return { files, folder, log, path, reasons };
}

t.test('a credential comes back as it was saved, to the next process too', (t) => {
  const { files, folder, log, path } = setUp(t);
  const saved = credentialOf(web);
  folder.save(saved);
  t.same(folder.load(web), saved);
  t.same(new KeyFolder(path, log).load(web), saved);
  t.equal(folder.load(api), undefined);
  t.equal(statSync(path).mode & 0o777, 0o700);
  for (const file of files()) {
    t.equal(statSync(file).mode & 0o777, 0o600);
  }
  t.end();
});

t.test('a folder on a disk is refused', (t) => {
  const { log } = setUp(t);
  t.throws(() => new KeyFolder(t.testdir(), log), {
    code: 'unsupported',
    message: /tmpfs.*--keys/,
  });
  t.end();
});

t.test('what is expired, begins too late or is of somebody else is wiped, not used', (t) => {
  const { files, folder, reasons } = setUp(t);
  for (const [from, to] of [
    [-2_000, -1],
    [clockSkewMs + 5_000, 60_000],
  ] as const) {
    folder.save(credentialOf(web, from, to));
    t.equal(folder.load(web), undefined);
    t.same(files(), []);
    t.match(reasons.at(-1), /not valid now/);
  }
  folder.save(credentialOf(web, clockSkewMs - 5_000));
  t.ok(folder.load(web), 'a clock that is a little behind does no harm');
  const [file = ''] = files();
  writeFileSync(file, readFileSync(file, 'utf8').replace(web, api));
  t.equal(folder.load(web), undefined);
  t.match(reasons.at(-1), /it is for/);
  t.end();
});

t.test('what others may read, or is torn, is wiped, not used', (t) => {
  const { files, folder, reasons } = setUp(t);
  folder.save(credentialOf(web));
  chmodSync(files()[0] ?? '', 0o640);
  t.equal(folder.load(web), undefined);
  t.match(reasons.at(-1), /open to others/);
  folder.save(credentialOf(web));
  writeFileSync(files()[0] ?? '', '{');
  t.equal(folder.load(web), undefined);
  t.match(reasons.at(-1), /not a credential/);
  t.same(files(), []);
  t.end();
});

t.test('what is wiped is overwritten', (t) => {
  const { files, folder } = setUp(t);
  folder.save(credentialOf(web));
  const file = openSync(files()[0] ?? '', 'r');
  t.teardown(() => closeSync(file));
  folder.remove(web);
  const left = readFileSync(file);
  t.ok(left.length > 0);
  t.ok(left.every((byte) => byte === 0));
  t.end();
});

t.test('keys go with their identity, and those of identities that are gone as well', (t) => {
  const { files, folder } = setUp(t);
  folder.save(credentialOf(web));
  folder.save(credentialOf(api));
  folder.remove(web);
  folder.remove(web);
  t.equal(folder.load(web), undefined);
  folder.save(credentialOf(web));
  folder.keepOnly(new Set([api]));
  t.equal(files().length, 1);
  t.ok(folder.load(api));
  t.end();
});
