// SPDX-License-Identifier: Apache-2.0
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ztunnel } from '../../../../src/bench/variants/ztunnel.ts';

const variable = 'ZTUNNEL_BIN';

function use(t: Test, binary: string | undefined): void {
  const before = process.env[variable];
  const set = (value: string | undefined): void => {
    if (value === undefined) {
      delete process.env[variable];
    } else {
      process.env[variable] = value;
    }
  };
  set(binary);
  t.teardown(() => set(before));
}

function program(t: Test, body: string): string {
  const folder = t.testdir({ ztunnel: `#!/bin/sh\n${body}\n` });
  const file = join(folder, 'ztunnel');
  chmodSync(file, 0o700);
  return file;
}

const silent = (): void => undefined;

t.test('it is skipped in a line where no binary is named', async (t) => {
  for (const binary of [undefined, '']) {
    use(t, binary);
    t.equal(await ztunnel.prepare(silent), "ZTUNNEL_BIN names no binary of Istio's ztunnel");
  }
});

t.test('it is skipped where the binary does not run', async (t) => {
  use(t, join(t.testdir(), 'nothing'));
  t.match(await ztunnel.prepare(silent), /^cannot run .*nothing/);
  use(t, program(t, 'echo no such word >&2; exit 1'));
  t.match(await ztunnel.prepare(silent), /ztunnel version: no such word$/);
});

t.test('its title has the version of the binary', async (t) => {
  use(t, program(t, `[ "$1" = version ] && echo 'version.BuildInfo{Version:"1.31.0"}'`));
  t.equal(await ztunnel.prepare(silent), undefined);
  t.match(ztunnel.title, /^Istio's ztunnel 1\.31\.0, a proxy a node, /);
});
